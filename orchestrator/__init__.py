"""Rollouts: strategies that are built from the verbs of a Rollout, on any platform and router.

What to open for which question:

- How does a strategy work? `strategies`, which reads like its description.
- What can a rollout do? `rollout` (start, wait, soak, drain, stop), `traffic_verbs` (weights and
  switches), `verb_runner` (what all verbs share: checkpoint, hooks, journal).
- In which order do replicas leave, and how late is the router told? `termination` (PURE:
  the plan), `leaving` (carries it out), `departure` (what happened), `personas` (other platforms).
- What can be set? `policy`, whose structs are the table `[policy]` of a scenario file; `values`.
- Steps, rollback, undo: `release`, with `deployment_history` (which version may come back) and
  `beside` (what is deployed with the web, such as `process_sets`); after `kill -9`: `recovery`;
  migrations: `migrations`, `yoyo_runner`, `rehearsal`.
- Who decides about a canary? `analysis` (PURE) from the counts that `samples` takes.
- Who replaces lost replicas? `supervisor`, in the fleet that `fleet` holds.
- What must a platform, a router, a migrator offer? `interfaces`; ours are in `platforms` and
  `routers`.
- What is recorded? `journal`, with the verbs in `verbs` and the events in `model`.
- How do people steer it? `rollout_control`, through `control_socket`.
- Processes that never outlive their run: `processes`, `process_groups`, `guardian`,
  `adopted_process`; the database: `postgres` (the embedded server), `pooler`, `database_server`
  (databases and templates on a server), `database` (sessions); ports: `tcp_ports`.
"""
