"""The table `[simulation]` of a scenario file: what a simulated run has to know of the application.

`hitless run --platform simulated` reads it; a real run does not need it.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from orchestrator.policy import HttpPath, NotNegative, Positive
from orchestrator.simulated.world_settings import (
    Breaks,
    MigrationModel,
    Network,
    ReplicaModel,
    Time,
)
from scenarios.traffic.settings import PathText

Record = Literal["each", "counts"]


class EndpointModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one endpoint differs from the others.

    Attributes:
        service_factor: how long a request takes, relative to `service_seconds` of its version.
        lock: the table whose lock a request needs. It waits while a migration holds that lock.
    """

    service_factor: NotNegative = 1.0
    lock: str | None = None


class SimulationSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a simulated run has to know of the application. See `docs/simulator.md`.

    An endpoint is a method and a path without its query, such as `POST /subscriptions`. Which
    endpoints there are, and how often each is used, follows from the journeys of `[traffic]`.

    Attributes:
        replica: how replicas behave.
        versions: by version, the keys in which its replicas differ from `replica`.
        network: the network between the balancer and the replicas.
        endpoints: by endpoint, what differs from the other endpoints.
        breaks: what a version cannot do on which schema.
        breaks_from: a file that `hitless check --json` wrote. What a version cannot do on which
            schema is read there; `breaks` holds for what the check did not try.
        migrations: how long migrations take and which locks they hold. A migration that is not
            named takes 0.1 s and holds no lock.
        schema_paths: the paths on which a version says that it is not ready for the schema (`ready`
            of `breaks`). All other paths do not depend on the schema.
        mails: by version, the endpoints whose success makes the version send a mail. Steps of a
            journey with `after = "mail"` need it.
        mail_seconds: how long a mail takes.
        link: the path of the link in each mail, which `{link}` stands for.
        record: `each`: the evidence has a line for each request. `counts`: requests that succeeded
            are counted, by tenths of a second; all other requests have a line each. Default:
            `each` up to 2,000 arrivals per second.
        limit_seconds: a run that has not ended after so much virtual time is refused.
    """

    replica: ReplicaModel = ReplicaModel()
    versions: Mapping[str, ReplicaModel] = msgspec.field(default_factory=dict)
    network: Network = Network()
    endpoints: Mapping[str, EndpointModel] = msgspec.field(default_factory=dict)
    breaks: tuple[Breaks, ...] = ()
    breaks_from: PathText | None = None
    migrations: tuple[MigrationModel, ...] = ()
    schema_paths: tuple[HttpPath, ...] = ()
    mails: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    mail_seconds: Time = 0.05
    link: HttpPath = "/"
    record: Record | None = None
    limit_seconds: Annotated[Positive, msgspec.Meta(le=30 * 86_400)] = 7 * 86_400.0
