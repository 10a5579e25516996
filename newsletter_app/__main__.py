"""`python -m newsletter_app --version b --port 9001`; settings come from the environment."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from newsletter_app.app import ListenError, run
from newsletter_app.errors import SettingsError
from newsletter_app.settings import VERSIONS, Settings
from newsletter_app.telemetry import configure_logs
from newsletter_app.versions import load

_LAST_PORT = 65_535
_EPILOG = """environment:
  DATABASE_URL   postgresql://user@host:5432/name
  SMTP_URL       smtp://host:25 (version b)
  BASE_URL       what links in mails begin with (version b)
  REPLICA_ID     this process' name in logs and mails
  SERVED_BY      its name in the field X-Served-By of answers; absent: none
  LOG_LEVEL      DEBUG, INFO (default), WARNING or ERROR
  MAIL_FROM      the sender of mails"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; returns the exit status: 0, 1 (cannot listen) or 2 (bad settings)."""
    parser = argparse.ArgumentParser(
        prog="python -m newsletter_app",
        description="A newsletter API, as three releases of one program.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", required=True, choices=VERSIONS, help="which release")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="the same (8000); 0 picks one")
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= _LAST_PORT:
        parser.error(f"argument --port: {options.port} is not from 0 to {_LAST_PORT}")
    release = load(options.version)
    try:
        settings = Settings.from_environment(os.environ, sends_mail=release.sends_mail)
    except SettingsError as error:
        return _say(error, 2)
    configure_logs(replica=settings.replica_id, version=release.version, level=settings.log_level)
    try:
        asyncio.run(run(release, settings, host=options.host, port=options.port))
    except ListenError as error:
        return _say(error, 1)
    return 0


def _say(error: Exception, status: int) -> int:
    sys.stderr.write(f"newsletter_app: {error}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
