"""Who sends requests to replicas."""
