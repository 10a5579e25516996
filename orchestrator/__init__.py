"""Rollouts: strategies that are built from the verbs of a Rollout, on any platform and router.

A reader starts with `strategies`, which reads like the description of a deployment, and goes on
with `rollout` (the verbs), `release` (steps, rollback) and `interfaces` (what a platform, a router
and a migrator must offer).
"""
