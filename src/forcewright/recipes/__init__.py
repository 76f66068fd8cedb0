"""Studies from start to end: a config and what it does."""
