"""One module for each command; `services/cli/__main__.py` imports the one that is called."""
