"""What it means: pure functions over recorded evidence."""
