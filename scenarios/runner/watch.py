"""Evidence around any deployment: traffic to a URL while a command, or somebody, deploys.

Nothing of it is ours but the users: no balancer, no replica, no database. So it can tell what
failed and when. Why, it knows from the answers where they say so (RFC 9209, RFC 9457), from the
service's logs, from its database and from the API of a cluster, as far as it is given them.
"""

import asyncio
import re
import shlex
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as distribution_version
from pathlib import Path
from urllib.parse import urlsplit

import idna
import msgspec

from orchestrator.errors import EnvironmentFailure
from orchestrator.journal import Journal
from orchestrator.kubernetes.locality import ensure_meant
from orchestrator.kubernetes.target import ClusterTarget
from orchestrator.model import JournalEvent
from orchestrator.processes import Processes
from orchestrator.tasks import first_error
from scenarios.errors import ScenarioError
from scenarios.evidence.event import Event
from scenarios.evidence.generator_facts import GeneratorFacts
from scenarios.evidence.manifest import Manifest, Objectives, Outcome, this_machine
from scenarios.evidence.progress import Progress
from scenarios.evidence.run_folder import RunFolder
from scenarios.recording.cluster.view import ClusterView, looked_at
from scenarios.recording.cluster.watching import ClusterWatch
from scenarios.recording.compose.engine import ComposeProject
from scenarios.recording.observers import Observers
from scenarios.recording.schema_watch import watch_schema
from scenarios.recording.service_logs.following import LogSource
from scenarios.recording.subjects import record_subjects
from scenarios.runner.deploy_command import run_command
from scenarios.runner.environment import environment
from scenarios.runner.generators.group import GeneratorGroup
from scenarios.runner.generators.in_cluster import GeneratorJobs, generators_in
from scenarios.runner.service_logs import ReplicaAt, ServiceLogs
from scenarios.scenario.placeholders import database_values
from scenarios.scenario.spec import IntegritySpec, PhasesSpec
from scenarios.traffic.errors import TrafficError
from scenarios.traffic.journeys.set_up import set_up
from scenarios.traffic.plan import HTTPS_PORT, Plan, host_and_port
from scenarios.traffic.process.driver import LoadGenerator, load_generator
from scenarios.traffic.settings import Journey, Step, TlsSettings, TrafficSettings
from scenarios.traffic.wire.tls import tls_context

STRATEGY = "command"

_HTTP_PORT = 80
_HOST = re.compile(r"(?:[\w-]{1,63}\.)*[\w-]{1,63}\.?", re.ASCII)
_VISIBLE = re.compile(r"[!-~]*")
_SHAKE_SECONDS = 10.0
NOT_CHECKED = "the certificate of the server was not checked (--insecure)"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchTarget:
    """Where the traffic goes.

    Attributes:
        host: a name or an address.
        port: its port.
        path: the path and query of the URL that was given.
        secure: whether it is an `https://` URL.
    """

    host: str
    port: int
    path: str
    secure: bool = False


def target_of(url: str) -> WatchTarget:
    """What a URL names.

    Raises:
        ScenarioError: it is no `http://` or `https://` URL.
    """
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        host, port = parts.hostname, parts.port
        if port is None:
            port = HTTPS_PORT if secure else _HTTP_PORT
    except ValueError as error:
        raise ScenarioError(f"--url {url}: {error}") from error
    if parts.username is not None:
        raise ScenarioError(
            f"--url: {parts.scheme}://…@{host} has a user or a password, which are not sent; "
            "use --bearer VARIABLE or --header Authorization=VARIABLE"
        )
    if parts.scheme not in ("http", "https") or not host:
        raise ScenarioError(f"--url {url}: expected a URL such as http://127.0.0.1:8080/")
    if port == 0:
        raise ScenarioError(f"--url {url}: no server listens on port 0")
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode()
        except idna.IDNAError as error:
            raise ScenarioError(f"--url {url}: {host} is not a host's name: {error}") from error
    if not _HOST.fullmatch(host) and ":" not in host:
        raise ScenarioError(f"--url {url}: {host} is not a host's name or address")
    if not _VISIBLE.fullmatch(f"{parts.path}{parts.query}"):
        raise ScenarioError(f"--url {url}: a path has no spaces; write them as %20")
    query = f"?{parts.query}" if parts.query else ""
    path = f"{parts.path or '/'}{query}"
    return WatchTarget(host=host, port=port, path=path, secure=secure)


async def check_certificate(target: WatchTarget, tls: TlsSettings) -> None:
    """Shake hands with an https service once, before anything is deployed.

    A service that does not accept a connection is left to the traffic, which tells it as a failure.

    Raises:
        ScenarioError: its certificate is not accepted, or it does not speak TLS.
    """
    url = f"--url https://{host_and_port(target.host, target.port)}"
    try:
        async with asyncio.timeout(_SHAKE_SECONDS):
            _, writer = await asyncio.open_connection(
                target.host, target.port, ssl=tls_context(tls), server_hostname=tls.server_name
            )
    except ssl.SSLCertVerificationError as error:
        raise ScenarioError(
            f"{url}: the certificate is not accepted ({error.verify_message}); --cacert FILE "
            "trusts another one, and --insecure any"
        ) from error
    except ssl.SSLError as error:
        raise ScenarioError(
            f"{url}: no encrypted connection came about ({error.reason or error})"
        ) from error
    except (OSError, TimeoutError):
        return
    writer.transport.abort()


def with_headers(traffic: TrafficSettings, headers: Mapping[str, str]) -> TrafficSettings:
    """The traffic with header fields in each request that does not set them itself.

    Args:
        traffic: the traffic.
        headers: the fields; nothing of them is recorded.
    """
    if not headers:
        return traffic

    def added(step: Step) -> Step:
        return msgspec.structs.replace(step, headers={**headers, **step.headers})

    journeys = tuple(
        msgspec.structs.replace(one, steps=tuple(map(added, one.steps))) for one in traffic.journeys
    )
    return msgspec.structs.replace(
        traffic, journeys=journeys, set_up=tuple(map(added, traffic.set_up))
    )


def visits(path: str, expect: Sequence[int]) -> tuple[Journey, ...]:
    """The journeys of those who only look: on a kept connection, and on one of their own."""
    return tuple(
        Journey(
            name=f"visit, {connection} connection",
            steps=(Step(path=path, expect=tuple(expect), connection=connection),),
        )
        for connection in ("reused", "new")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is watched, and how.

    Attributes:
        name: what the run is called.
        target: where the traffic goes.
        command: what deploys; empty: nobody knows, it lasts until `stop`.
        traffic: what the users do; the files of coroutines can be opened from here.
        phases: how long the traffic goes on around the command.
        objectives: what the run is judged by.
        seed: of all randomness.
        replay: the command that watches again.
        tls: how the traffic is encrypted; None: it is not.
        database: the URL of the service's Postgres database; None: nobody looks at it.
        database_log: the log of its server, as a file or a folder.
        integrity: how acknowledged data is checked; None: it is not.
        logs: the service's own logs.
        compose: the docker compose project that it belongs to; None: to none.
        cluster: the part of a cluster where the service runs; None: nobody looks at a cluster.
        generators: the load generators in that cluster; None: the load comes from this machine.
    """

    name: str
    target: WatchTarget
    command: tuple[str, ...]
    traffic: TrafficSettings
    phases: PhasesSpec
    objectives: Objectives
    seed: int
    replay: str
    tls: TlsSettings | None = None
    database: str | None = None
    database_log: Path | None = None
    integrity: IntegritySpec | None = None
    logs: tuple[LogSource, ...] = ()
    compose: ComposeProject | None = None
    cluster: ClusterTarget | None = None
    generators: GeneratorJobs | None = None


class _Ended(msgspec.Struct, frozen=True):
    outcome: Outcome
    reason: str | None = None
    unread: tuple[str, ...] = ()
    protocols: Mapping[str, int] = {}
    generators: tuple[GeneratorFacts, ...] = ()


async def watch(about: Watch, folder: Path, watcher: Progress, stop: asyncio.Event) -> None:
    """Watch; the evidence, the manifest included, is then in the folder.

    Args:
        about: what, and how.
        folder: where the evidence goes.
        watcher: shows it meanwhile.
        stop: ends it where there is no command.

    Raises:
        EnvironmentFailure: it could not begin, or the load generator broke.
        UsageError: the cluster does not have what was named.
    """
    started_at = datetime.now(UTC)
    ended = _Ended("aborted", "interrupted")
    interrupted = True
    view: ClusterView | None = None
    try:
        async with AsyncExitStack() as stack:
            stack.enter_context(first_error())
            place = await stack.enter_async_context(environment(about.database))
            if about.database is not None:
                await place.server()  # one that does not answer is told before anything begins
            await stack.enter_async_context(place.postgres_log(folder, about.database_log))
            if about.cluster is not None:
                view = await stack.enter_async_context(
                    looked_at(about.cluster, about.target.host, about.target.port)
                )
            ended = await _inside(stack, about, folder, watcher, stop, view)
        interrupted = False
    except TrafficError as error:
        raise EnvironmentFailure(str(error)) from error
    finally:
        manifest = _manifest(about, ended, started_at, folder, view, interrupted=interrupted)
        RunFolder(folder).write_manifest(manifest)


async def _inside(  # noqa: PLR0917 - a part of its one caller
    stack: AsyncExitStack,
    about: Watch,
    folder: Path,
    watcher: Progress,
    stop: asyncio.Event,
    view: ClusterView | None,
) -> _Ended:
    def hear(event: JournalEvent) -> None:
        watcher.on_event(msgspec.convert(event, Event, from_attributes=True))

    if about.tls is not None and about.generators is None:
        await check_certificate(about.target, about.tls)
    if about.compose is not None:
        await about.compose.check()
    processes = await stack.enter_async_context(Processes())
    load = await stack.enter_async_context(_load(about, view, processes, folder, watcher))
    elsewhere = load if isinstance(load, GeneratorGroup) else None
    journal = stack.enter_context(Journal(RunFolder(folder).events.path, listeners=[hear]))
    service = ServiceLogs(about.logs, folder, seed=about.seed)
    observers = Observers(
        folder,
        url=about.database,
        admin=None,
        marks=(processes.mark,),
        on_waits=watcher.on_waits,
        logs=stack.enter_context(service.followed()),
        # How busy this machine is says nothing of generators on another one.
        machine=elsewhere is None or elsewhere.here,
    )
    cluster = None if view is None else ClusterWatch(view, folder)
    async with (
        observers.watching(journal),
        nullcontext() if cluster is None else cluster.watching(),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(load.listen(), name="ticks of the load generator")
        containers = None
        if about.compose is not None:
            containers = group.create_task(about.compose.watch(journal), name="containers")
        schema = None
        if about.database is not None:
            schema = group.create_task(watch_schema(about.database, journal), name="schema")
        async with journal.verb("phase", detail={"name": "setup"}, encloses=True):
            captured = await _set_up(about, elsewhere)
        await _record_rows(about, RunFolder(folder).subjects_before.path)
        await load.start(captured)
        async with journal.verb("phase", detail={"name": "baseline"}, encloses=True):
            await asyncio.sleep(about.phases.baseline_seconds)
        async with journal.verb("phase", detail={"name": "rollout"}, encloses=True):
            ended = await _deploy(about, journal, RunFolder(folder).command_log, stop, cluster)
            await load.released()
        async with journal.verb("phase", detail={"name": "settle"}, encloses=True):
            await asyncio.sleep(about.phases.settle_seconds)
            await load.stop()
            await load.finish()
            await service.catch_up(watcher.on_stage)
            await _record_rows(about, RunFolder(folder).subjects_after.path)
        for task in (schema, containers):
            if task is not None:
                task.cancel()
    nobody: ReplicaAt = lambda _upstream, _at_ns: None  # noqa: E731 - it is no more than that
    unread = service.join(nobody if about.compose is None else about.compose.replica_at)
    return msgspec.structs.replace(
        ended,
        unread=unread,
        protocols=_protocols(about, RunFolder(folder)),
        generators=() if elsewhere is None else elsewhere.facts,
    )


@asynccontextmanager
async def _load(
    about: Watch,
    view: ClusterView | None,
    processes: Processes,
    folder: Path,
    watcher: Progress,
) -> AsyncIterator[LoadGenerator | GeneratorGroup]:
    """What sends the traffic: a process of this machine, or generators in the cluster."""
    plan = Plan.of(
        about.traffic,
        host=about.target.host,
        port=about.target.port,
        seed=about.seed,
        requests_path=str(RunFolder(folder).requests.path),
        mails_path=str(RunFolder(folder).mails.path),
        tls=about.tls,
    )
    if about.generators is None or view is None:
        async with load_generator(
            processes, plan, python=sys.executable, folder=folder, on_tick=watcher.on_tick
        ) as load:
            yield load
        return
    ensure_meant(view.cluster, view.target.context, by="--cluster CONTEXT/NAMESPACE")
    async with generators_in(
        view.cluster,
        about.generators,
        plan,
        folder=folder,
        on_tick=watcher.on_tick,
        on_stage=watcher.on_stage,
    ) as group:
        yield group


async def _set_up(about: Watch, elsewhere: GeneratorGroup | None) -> dict[str, str]:
    """Send the requests of the set-up from where the traffic comes from."""
    if elsewhere is not None:
        return await elsewhere.set_up()
    return await set_up(
        about.target.host,
        about.target.port,
        about.traffic.set_up,
        seed=about.seed,
        timeout_seconds=about.traffic.timeout_seconds,
        tls=about.tls,
    )


def _protocols(about: Watch, files: RunFolder) -> dict[str, int]:
    """How many requests were sent over which version of HTTP, where the service could choose."""
    if about.tls is None:
        return {}
    sent = Counter(
        "HTTP/2" if one.http2 else "HTTP/1.1"
        for one in files.requests.read()
        if one.sent_ns is not None
    )
    return dict(sent.most_common())


async def _record_rows(about: Watch, path: Path) -> None:
    query = None if about.integrity is None else about.integrity.subjects
    if about.database is not None and isinstance(query, str):
        await record_subjects(about.database, query, path)


async def _deploy(
    about: Watch, journal: Journal, log: Path, stop: asyncio.Event, cluster: ClusterWatch | None
) -> _Ended:
    name = shlex.join(about.command) or "until told to stop"
    async with journal.verb("release", detail={"name": name}, encloses=True) as entry:
        if about.command:
            failed = await run_command(about.command, log)
            ended = _Ended("completed") if failed is None else _Ended("failed", failed)
            # Most commands end when the cluster has taken their manifest; the rollout goes on.
            if cluster is not None and ended.outcome == "completed":
                failure = await cluster.completed()
                ended = ended if failure is None else _Ended("failed", failure)
        else:
            await stop.wait()
            ended = _Ended("completed")
        entry.detail |= {"outcome": ended.outcome, "reason": ended.reason}
    return ended


def _manifest(
    about: Watch,
    ended: _Ended,
    started_at: datetime,
    folder: Path,
    view: ClusterView | None,
    *,
    interrupted: bool,
) -> Manifest:
    unchecked = about.tls is not None and not about.tls.verify
    lacks = (*((NOT_CHECKED,) if unchecked else ()), *ended.unread)
    integrity = about.integrity or IntegritySpec(subjects="")
    return Manifest(
        scenario=about.name,
        strategy=STRATEGY,
        platform="foreign" if view is None else "kubernetes",
        router="foreign",
        seed=about.seed,
        replicas=1 if view is None else max(1, view.replicas),
        rate=about.traffic.asked_rate,
        existing_rows=0,
        versions=(),
        states=integrity.states,
        confirmed_state=integrity.confirmed_state,
        confirm_endpoint=integrity.confirm_endpoint,
        subject_endpoint=integrity.subject_endpoint,
        database=None
        if about.database is None
        else database_values(about.database)["database_name"],
        router_version="the watched service" if lacks else None,
        router_lacks=lacks,
        protocols=ended.protocols,
        outcome=ended.outcome,
        outcome_reason=ended.reason,
        objectives=about.objectives,
        replay=about.replay,
        hitless=distribution_version("hitless"),
        started_at=started_at.isoformat(timespec="seconds"),
        interrupted=interrupted,
        environment=this_machine(),
        cluster=None if view is None else view.settings,
        generators=ended.generators,
        files=RunFolder(folder).digests(),
    )
