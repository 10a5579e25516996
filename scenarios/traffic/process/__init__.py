"""The load generator as processes of its own, and how the harness talks to them."""
