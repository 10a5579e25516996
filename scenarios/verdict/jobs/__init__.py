"""What became of the application's jobs."""
