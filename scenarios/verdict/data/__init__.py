"""What became of the data."""
