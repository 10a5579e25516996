"""Search for schedules in which a rollout breaks a promise.

schedule    a whole simulated run as data, drawn from a seed
invariants  what must hold in every run
trial       carries out one schedule, and says which invariants it breaks
shrinking   the smallest schedule that breaks the same invariant
"""
