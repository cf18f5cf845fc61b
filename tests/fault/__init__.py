"""The whole system with parts of it killed, cut off and frozen under load: what was promised still holds."""
