"""Which versions can live on which schema: what a release reaches, and what was tried there.

All modules here are pure: `scenarios.runner.checking` starts the versions and tries them.

    release_plan  ->  reachable (states, and the paths to them)  ┐
    the runner's trials  ->  observed                            ┴->  safety  ->  check_report
"""
