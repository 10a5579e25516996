"""One experiment, carried out: the only package that wires the others to the orchestrator."""
