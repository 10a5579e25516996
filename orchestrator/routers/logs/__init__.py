"""PURE: how the log lines of each router are read."""
