"""The calls of services, joined with the requests that they were made for. Pure.

A caller that passes the header `X-Request-Id` on can be followed: the balancer of the service logs
which of its versions answered the call that was made for a request.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.service_facts import ServiceFacts
from scenarios.verdict.columns.requests import RequestColumns, Step, key_of
from scenarios.verdict.model import ServiceCalled, ServiceVersionCalls

_SERVER_ERROR = 500
_COMPLETE = "complete"
_SEVERAL = -1
"""Stands for who answered, where several versions did."""

Answered = tuple[str, str]
"""Who answered a call: the version and the replica of the service."""


class ServiceCall(NamedTuple):
    """One call of a service.

    Attributes:
        service: the service.
        line: what its balancer logged.
    """

    service: str
    line: ExchangeRecord

    @property
    def failed(self) -> bool:
        """Whether it ended with a 5xx (RFC 9110, section 15.6), or without an answer."""
        return _failed(self.line)

    @property
    def words(self) -> str:
        """What happened to it."""
        line, version = self.line, f" (version {self.line.version})" if self.line.version else ""
        if line.backend is None or line.end == "destination_unavailable":
            return f"service {self.service} had no replica up ({line.status or 'no answer'})"
        if line.end == "client_gone":
            seconds = f" after {line.total_ns / 1e9:.2f} s" if line.total_ns > 0 else ""
            return f"its caller gave up on service {self.service}{version}{seconds}"
        if line.end != _COMPLETE:
            return f"the call of service {self.service}{version} broke off: {line.end}"
        return f"service {self.service}{version} answered its call with {line.status}"


class ServiceCalls:
    """Every call of the services of a run.

    Memory: about a hundred bytes for each call that names a request.

    Attributes:
        services: what is counted of each service, in the order of the scenario.
    """

    def __init__(
        self,
        services: Sequence[ServiceFacts] = (),
        calls: Mapping[str, Iterable[ExchangeRecord]] | None = None,
        *,
        prefix: str = "",
        wanted: AbstractSet[str] = frozenset(),
    ) -> None:
        """Read all calls.

        Args:
            services: the services.
            calls: by service, the log of its balancer.
            prefix: what the ids of all planned requests begin with.
            wanted: the ids of the requests whose calls are kept.
        """
        self._kept: dict[str, list[ServiceCall]] = {}
        self._asked: dict[str, dict[int, int]] = {}
        self._answered: list[Answered] = []
        self.services = tuple(
            self._read(one, (calls or {}).get(one.name, ()), prefix, wanted) for one in services
        )
        self._served: dict[tuple[str, Step, str], dict[Answered, array[int]]] = {}

    def use(self, columns: RequestColumns) -> None:
        """Take note of all requests that succeeded."""
        if not any(self._asked.values()):
            return
        versions = [kind.version if kind.ok else None for kind in columns.kinds]
        for names, numbers, planned, taken in zip(
            columns.name, columns.kind, columns.planned, columns.taken, strict=True
        ):
            for key, number, at_ns, took in zip(names, numbers, planned, taken, strict=True):
                version = versions[number]
                if version is None:
                    continue
                for service, asked in self._asked.items():
                    code = asked.get(key)
                    if code is not None and code != _SEVERAL:
                        place = service, columns.kinds[number].step, version
                        times = self._served.setdefault(place, {})
                        answered = self._answered[code]
                        times.setdefault(answered, array("q")).append(at_ns + took)

    def made_for(self, request_id: str) -> Sequence[ServiceCall]:
        """The calls that were made for a request, in order; only of requests that are wanted."""
        return sorted(self._kept.get(request_id, ()), key=lambda one: one.line.at_ns)

    def failed_call(self, request_id: str) -> ServiceCall | None:
        """The call for a request that failed for good: the last one of its service."""
        last = {one.service: one for one in self._kept.get(request_id, ())}
        return next((one for one in last.values() if one.failed), None)

    def answered(self, service: str, request_id: str) -> Answered | None:
        """Who answered the calls of a service for a request; None if nobody, or several versions.

        Only of requests that are wanted.
        """
        found = {
            (one.line.version or "", one.line.backend or "")
            for one in self._kept.get(request_id, ())
            if one.service == service and one.line.backend is not None
        }
        versions = {version for version, _ in found}
        return next(iter(found)) if len(versions) == 1 else None

    def served(
        self, service: str, steps: Iterable[Step], version: str
    ) -> "dict[Answered, array[int]]":
        """When requests of these steps succeeded on a version, by who answered their calls."""
        found: dict[Answered, array[int]] = {}
        for step in steps:
            for answered, times in self._served.get((service, step, version), {}).items():
                found.setdefault(answered, array("q")).extend(times)
        return {answered: array("q", sorted(times)) for answered, times in found.items()}

    def _read(
        self,
        facts: ServiceFacts,
        calls: Iterable[ExchangeRecord],
        prefix: str,
        wanted: AbstractSet[str],
    ) -> ServiceCalled:
        counts: Counter[str | None] = Counter()
        failed: Counter[str | None] = Counter()
        asked: dict[int, int] = {}
        codes: dict[Answered, int] = {}
        followed = 0
        for line in calls:
            counts[line.version] += 1
            failed[line.version] += _failed(line)
            if not line.request_id.startswith(prefix):
                continue
            followed += 1
            if line.request_id in wanted:
                self._kept.setdefault(line.request_id, []).append(ServiceCall(facts.name, line))
            if line.version is not None and line.backend is not None:
                who = line.version, line.backend
                if who not in codes:
                    codes[who] = len(self._answered)
                    self._answered.append(who)
                key, code = key_of(line.request_id), codes[who]
                before = asked.setdefault(key, code)
                if before < 0 or self._answered[before][0] != line.version:
                    asked[key] = _SEVERAL
        self._asked[facts.name] = asked
        order = {version: number for number, version in enumerate(facts.versions)}
        return ServiceCalled(
            service=facts.name,
            versions=facts.versions,
            replicas=facts.replicas,
            calls=counts.total(),
            failed=failed.total(),
            followed=followed,
            by_version=tuple(
                ServiceVersionCalls(version=one, calls=counts[one], failed=failed[one])
                for one in sorted(counts, key=lambda one: (order.get(one or "", 99), one or "~"))
            ),
        )


def _failed(line: ExchangeRecord) -> bool:
    return line.end != _COMPLETE or not line.status or line.status >= _SERVER_ERROR
