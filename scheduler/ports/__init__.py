"""What the domain needs from the outside, as small protocols; `scheduler.adapters` fulfils them."""
