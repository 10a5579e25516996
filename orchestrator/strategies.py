"""Strategies: coroutines over the verbs of a Rollout, and nothing else."""
