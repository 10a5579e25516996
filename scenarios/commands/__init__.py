"""The commands, one module each; `scenarios.cli` lists them."""
