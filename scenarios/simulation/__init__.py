"""Runs an experiment in virtual time, with the evidence of a real run.

model       a scenario as a simulated world
recording   what became of the simulated requests, as evidence
counting    requests that are too many for a line each
run         one simulated run, from the scenario to its folder
"""
