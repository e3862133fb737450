"""One file per role: what it runs and on which inbox."""
