"""Kubernetes, in modules that know no run.

- The API: `client`, `kubeconfig`, `cluster_clock`, `errors`; what is looked at: `target`.
- What a run makes: `ownership` (its namespace), `locality` (in which clusters it may), `manifests`,
  `resources`, `jobs`.
- Replicas that are pods: `pod_manifest` (from a template), `pod_state` (what the API says of one),
  `namespace_view` (what is there now).
"""
