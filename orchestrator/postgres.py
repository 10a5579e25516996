"""The database of a run: an embedded server, or a given URL."""
