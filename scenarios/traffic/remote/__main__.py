"""`python -m scenarios.traffic.remote`: a load generator that is commanded over HTTP."""

import sys

from scenarios.traffic.remote.http_server import main

if __name__ == "__main__":
    sys.exit(main())
