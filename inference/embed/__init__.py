"""The engine for encoders: texts in, one vector for each out."""
