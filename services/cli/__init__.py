"""The command line: `forebay …`, and `forebay up`, which runs everything on one machine."""
