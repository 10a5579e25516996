"""Questions that take more than one run: how often, and because of what."""
