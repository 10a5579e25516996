"""A file becomes a checked scenario. Nothing is started here."""
