"""PURE: what a cluster told of a release, as the lives of its replicas."""
