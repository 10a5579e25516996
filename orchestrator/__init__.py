"""Rollouts: strategies over the verbs of a Rollout, on any platform."""
