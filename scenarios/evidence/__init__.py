"""What happened, as files."""
