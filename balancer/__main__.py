"""`python -m balancer`: the balancer alone, as a reverse proxy."""

import gc
import logging
import sys

import uvloop

from balancer.errors import ConfigError, StartError
from balancer.options import parse
from balancer.server import serve


def main(arguments: list[str]) -> int:
    """Run the balancer until it is told to stop; returns the exit status.

    0: it stopped in order. 2: the command line is wrong. 4: the machine refused something, for
    example because an address is in use.
    """
    logging.basicConfig(stream=sys.stderr, format="balancer: %(message)s", level=logging.INFO)
    try:
        config = parse(arguments)
        # Objects that exist now live until the end, so that no collection needs to visit them.
        gc.freeze()
        # Exchanges leave no reference cycles, so that collections can be rare.
        gc.set_threshold(20_000, 20, 50)
        uvloop.run(serve(config, lambda line: print(line, flush=True)))  # noqa: T201 - the contract
    except ConfigError as error:
        print(f"balancer: {error}", file=sys.stderr)  # noqa: T201 - for the operator
        return 2
    except StartError as error:
        print(f"balancer: {error}", file=sys.stderr)  # noqa: T201 - for the operator
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
