"""Runs on a Kubernetes cluster: the cluster's own controllers carry the rollout out."""
