"""Settings: everything that an operator decides, read once at the start."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from newsletter_app.errors import SettingsError

VERSIONS = ("a", "bridge", "b")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_BASE_URL = "http://127.0.0.1"
_REPLICA_ID = "newsletter"
_MAIL_FROM = "newsletter@example.com"


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mails are handed over.

    Attributes:
        host: its name or address.
        port: the same.
        tls: whether the connection is TLS from its first byte (RFC 8314); otherwise STARTTLS is
            used where the server offers it.
        username: for SMTP AUTH; absent: no authentication.
        password: the same.
    """

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says.

    Attributes:
        database_url: `postgresql://user:password@host:port/name`.
        smtp: the mail server; absent where the version sends no mail.
        base_url: what links in mails begin with, without a slash at the end.
        replica_id: the name of this process in logs and mails.
        log_level: the least level that is logged.
        mail_from: the sender of mails.
        served_by: the name that each answer gives to this process (`X-Served-By`), where no load
            balancer in front does that; absent: none.
    """

    database_url: str = field(repr=False)
    smtp: SmtpServer | None = None
    base_url: str = _BASE_URL
    replica_id: str = _REPLICA_ID
    log_level: int = logging.INFO
    mail_from: str = _MAIL_FROM
    served_by: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, sends_mail: bool) -> "Settings":
        """Read `DATABASE_URL`, `SMTP_URL`, `BASE_URL`, `REPLICA_ID`, `SERVED_BY` and the rest.

        Args:
            environment: such as `os.environ`.
            sends_mail: whether `SMTP_URL` and `BASE_URL` have to be there.

        Raises:
            SettingsError: one of them is missing or makes no sense.
        """
        level = environment.get("LOG_LEVEL", "INFO").upper()
        if level not in LEVELS:
            raise SettingsError(f"LOG_LEVEL is {level!r}; it is one of {', '.join(LEVELS)}")
        return cls(
            database_url=_database_url(environment.get("DATABASE_URL", "")),
            smtp=_smtp_server(environment.get("SMTP_URL", "")) if sends_mail else None,
            base_url=_base_url(environment.get("BASE_URL", "")) if sends_mail else _BASE_URL,
            replica_id=environment.get("REPLICA_ID") or _REPLICA_ID,
            log_level=logging.getLevelNamesMapping()[level],
            mail_from=environment.get("MAIL_FROM") or _MAIL_FROM,
            served_by=environment.get("SERVED_BY") or None,
        )


# Messages never repeat a URL: it may hold a password.
def _database_url(text: str) -> str:
    if not text:
        raise SettingsError("DATABASE_URL is not set; it is like postgresql://user@host:5432/name")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"postgresql", "postgres"} and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError("DATABASE_URL is not like postgresql://user@host:5432/name")
    return text


def _smtp_server(text: str) -> SmtpServer:
    if not text:
        raise SettingsError("SMTP_URL is not set; it is like smtp://host:25")
    problem = "SMTP_URL is not like smtp://host:25 or smtps://user:password@host:465"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise SettingsError(problem) from None
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or parts.path.strip("/"):
        raise SettingsError(problem)
    tls = parts.scheme == "smtps"
    return SmtpServer(
        host=parts.hostname,
        port=port or (465 if tls else 25),
        tls=tls,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


def _base_url(text: str) -> str:
    if not text:
        raise SettingsError("BASE_URL is not set; it is like https://newsletter.example.com")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or not text.isascii() or not text.isprintable():
        raise SettingsError("BASE_URL is not like https://newsletter.example.com")
    return text.rstrip("/")
