"""Experiments: a release under traffic, and a verdict.

A file becomes a scenario, a scenario becomes a run, a run becomes evidence, evidence becomes a
verdict, and a verdict is shown. Each of these is a package. A package may import those below it in
this list and none above it; `make check` enforces that.

- `pytest_plugin`: the fixture with which a test suite runs a scenario. It imports everything.
- `cli`: the command line, one file a command. It imports everything but the plugin.
- `runner`: carries out one experiment, or watches a deployment. Apart from the commands, it is the
  only package that uses the whole orchestrator and the balancer.
- `review`: turns a run's folder into its verdict and reports. It does not use the orchestrator.
- `reports`: shows a verdict in a terminal, on a page and in files. It sees only verdicts and
  evidence.
- `verdict`: decides from the evidence what failed, when and why. It does no I/O.
- `recording`: records what the load generator cannot see: locks, subjects, the balancer's events.
- `scenario`: reads, merges and checks a scenario file. It starts nothing, and uses only the pure
  modules of the orchestrator.
- `traffic`: the load generator, a process of its own, and the settings of the traffic.
- `evidence`: the records of a run and its folder.
- `json_schema`, `errors` and `exit_status`: what all of these share.

`subjects` holds the small applications that the built-in scenarios deploy. They run as processes
of their own and nothing imports them.
"""
