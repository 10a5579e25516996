"""Records what a cluster tells of a release."""
