"""Why requests failed or were slow."""
