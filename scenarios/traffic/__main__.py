"""`python -m scenarios.traffic`: the load generator as a process of its own."""

import sys

from scenarios.traffic.process.control import main

if __name__ == "__main__":
    sys.exit(main())
