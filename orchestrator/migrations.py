"""Schema migrations: yoyo, or any command."""
