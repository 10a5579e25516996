"""Experiments: a release under traffic, and a verdict."""
