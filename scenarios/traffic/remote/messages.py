"""What the harness and a remote generator say to each other, as MessagePack.

Every request has the header `X-Hitless-Token`. The generator knows only the SHA-256 of that token,
so that whoever can read its pod's specification cannot command it.

| Request | Body | Answer |
|---|---|---|
| `GET /about` | | `About` |
| `GET /clock` | | `GeneratorClock` |
| `POST /check` | `TrafficTarget` | nothing, once a connection to the target came about |
| `POST /set-up` | `SetUpRequests` | a map: what they captured |
| `POST /plan` | `Assignment` | nothing, once the generator is ready to start |
| `POST /command?number=N` | a `Command` as JSON | nothing; each number counts once |
| `GET /report?message=M&byte=B` | | `GeneratorReport` |
| `POST /end` | | nothing; the process then ends |

A refusal has the status 4xx or 5xx, and one line of text. Every answer has the header
`X-Hitless-Generator`, which tells it from an answer of a proxy in between.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from scenarios.traffic.plan import Plan
from scenarios.traffic.settings import Step, TlsSettings

TOKEN_HEADER = "X-Hitless-Token"  # noqa: S105 - a name
ANSWER_HEADER = "X-Hitless-Generator"
TOKEN_VARIABLE = "HITLESS_TOKEN_SHA256"  # noqa: S105 - a name
"""The environment variable with the SHA-256 of the token, in hexadecimal digits."""

_SIGKILL = 9
PORT = 10250
"""Firewalls between the API server of a managed cluster and its nodes leave this port open, since
kubelets listen on it; so a pod can be reached there as well."""

SILENCE_SECONDS = 60.0
"""After so long without a request, a remote generator takes the harness for dead and ends."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers.

    Attributes:
        hitless: its version.
        boot_id: the boot of its machine (`random/boot_id` in proc(5)); empty if unknown. Two
            processes with the same one run under the same kernel.
    """

    hitless: str
    boot_id: str


class GeneratorClock(msgspec.Struct, frozen=True, kw_only=True):
    """The time of `time.monotonic_ns()` on the generator's machine."""

    at_ns: int


class TrafficTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Where the traffic will go.

    Attributes:
        host: a name or an address.
        port: its port.
        tls: how the traffic is encrypted; None: it is not.
        files: the contents of the files that `tls` names, by their paths.
    """

    host: str
    port: int
    tls: TlsSettings | None = None
    files: Mapping[str, bytes] = msgspec.field(default_factory=dict)


class SetUpRequests(TrafficTarget, frozen=True, kw_only=True):
    """The requests that are sent once, before any user comes.

    Attributes:
        steps: the requests.
        seed: of the run.
        timeout_seconds: after how long each of them is given up.
    """

    steps: tuple[Step, ...]
    seed: int
    timeout_seconds: float


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """The part of one generator.

    Attributes:
        plan: what all generators send together; `shard` says which part is this one's.
        files: the contents of the files that the plan names, by their paths.
    """

    plan: Plan
    files: Mapping[str, bytes] = msgspec.field(default_factory=dict)


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The generator has ended, and its evidence is complete.

    Attributes:
        code: its exit status.
        words: the last line that it printed to its log.
        size: the length of its evidence in bytes.
        sha256: the SHA-256 of its evidence, in hexadecimal digits.
    """

    code: int
    words: str
    size: int
    sha256: str

    @property
    def sentence(self) -> str:
        """How it ended: a sentence without its subject."""
        if self.code < 0:
            why = ", as the kernel does where memory is short" if self.code == -_SIGKILL else ""
            return f"was ended by signal {-self.code}{why}"
        return f"ended with status {self.code}: {self.words}"


class GeneratorReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the generator has said and recorded since the last report.

    Attributes:
        at_ns: the time of its monotonic clock when the report was made.
        messages: lines of its dialogue, from the number that was asked for on.
        evidence: a piece of what it recorded, compressed (zlib, RFC 1950).
        size: the length of that piece before it was compressed.
        ended: set once the generator has ended.
    """

    at_ns: int
    messages: tuple[bytes, ...] = ()
    evidence: bytes = b""
    size: int = 0
    ended: Ended | None = None


def token_digest(token: str) -> str:
    """What a generator knows of the token."""
    return hashlib.sha256(token.encode()).hexdigest()
