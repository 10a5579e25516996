"""Kubernetes: its API (`client`), its clock (`cluster_clock`), what is looked at (`target`)."""
