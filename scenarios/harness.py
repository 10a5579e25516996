"""The only wiring: run(scenario) -> Run."""
