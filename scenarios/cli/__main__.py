"""`python -m scenarios.cli`: the same as the console script `hitless`."""

from scenarios.cli.main import main

main()
