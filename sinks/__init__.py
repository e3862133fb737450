"""Where what happened is written down for reading."""
