"""Which strategies are safe for a release: the states that they reach, and what was seen there."""

from collections import deque
from collections.abc import Iterator, Sequence

import msgspec

from scenarios.check.observed import (
    CellResult,
    ChangeResult,
    Connections,
    EndpointResult,
    Observed,
    SchemaKey,
)
from scenarios.check.reachable import Path, ReleaseState, StateGraph, Transition
from scenarios.check.release_plan import ReleasePlan, TakeBack
from scenarios.evidence.answer_shape import differences
from scenarios.evidence.manifest import Outcome as ReleaseOutcome
from scenarios.verdict.causes.sqlstates import describe
from scenarios.verdict.data.values import KEPT_VALUE

NO_BACKEND = "no_backend"
NOT_READY = "not_ready"
ANSWER_CHANGED = "answer_changed"
WARM_DIFFERS = "warm_connections"

_REFUSED = 400  # RFC 9110, section 15: from here on, a status refuses the request


class Hazard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that fails in a state of the release.

    Attributes:
        cause: the cause, with the names that a run's verdict uses.
        what: what fails, in a sentence.
        path: what happens before, in order.
        serving: the versions that serve in that state.
        schema: the schema of that state.
        version: the version that fails; absent if none serves.
        connections: whether its connections were warm or fresh; absent where both fail alike.
        endpoint: the endpoint that fails.
        statement: the statement that the database refused.
    """

    cause: str
    what: str
    path: tuple[str, ...]
    serving: tuple[str, ...]
    schema: SchemaKey
    version: str | None = None
    connections: Connections | None = None
    endpoint: str | None = None
    statement: str | None = None

    @property
    def story(self) -> str:
        """The way to the failure, and the failure."""
        after = "; ".join(self.path) or "before the release"
        serve = " and ".join(self.serving)
        return f"{after}. {f'While {serve} serves: ' if serve else ''}{self.what}"


class WayBack(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a version can return at a moment of the release.

    Attributes:
        moment: when, such as `after step 2`.
        step: the number of steps that are done.
        schema: the schema at that moment.
        serving: the version that serves.
        to: the version that returns.
        possible: whether all of its requests succeed.
        why: what fails; absent if nothing does.
        cause: the cause of that.
    """

    moment: str
    step: int
    schema: SchemaKey
    serving: str
    to: str
    possible: bool
    why: str | None = None
    cause: str | None = None


class Safety(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A release under one strategy.

    Attributes:
        strategy: the strategy.
        safe: whether nothing fails in any state of the planned way.
        outcome: how the release ends.
        reason: why it does not complete; absent if it does.
        hazards: what fails, the nearest state first.
        ways_back: where which version can return.
        states: how many states of the planned way were judged.
        untried: versions on schemas that no trial covered.
    """

    strategy: str
    safe: bool
    outcome: ReleaseOutcome
    reason: str | None = None
    hazards: tuple[Hazard, ...] = ()
    ways_back: tuple[WayBack, ...] = ()
    states: int = 0
    untried: tuple[str, ...] = ()

    @property
    def causes(self) -> tuple[str, ...]:
        """The causes of everything that fails, the nearest first."""
        return tuple(dict.fromkeys(one.cause for one in self.hazards))

    @property
    def can_be_taken_back(self) -> bool:
        """Whether each version that has served can return at each moment."""
        return all(one.possible for one in self.ways_back)


def judge_safety(graph: StateGraph, observed: Observed, *, same_answers: bool = True) -> Safety:
    """Judge a release under the strategy of its graph.

    Args:
        graph: the states that the release reaches.
        observed: what the trials saw.
        same_answers: whether JSON answers must keep their values and the types of these.
    """
    return _Walk(graph, observed, same_answers=same_answers).safety()


class _Walk:
    """Goes through the states of the planned way, as far as the release gets."""

    def __init__(self, graph: StateGraph, observed: Observed, *, same_answers: bool) -> None:
        self._graph = graph
        self._observed = observed
        self._same_answers = same_answers
        self._hazards: dict[tuple[object, ...], Hazard] = {}
        self._untried: dict[str, None] = {}
        self._stopped: tuple[ReleaseOutcome, str] | None = None
        self._reached: dict[ReleaseState, Path] = {}

    def safety(self) -> Safety:
        graph = self._graph
        self._reached[graph.start] = ()
        waiting = deque([graph.start])
        onward: dict[ReleaseState, list[Transition]] = {}
        for one in graph.transitions:
            onward.setdefault(one.before, []).append(one)
        while waiting:
            state = waiting.popleft()
            self._look_at(state)
            for transition in onward.get(state, ()):
                if transition.after.way != "forward" or transition.after in self._reached:
                    continue
                stop = self._stop(transition)
                if stop is not None:
                    self._stopped = self._stopped or stop
                    continue
                self._reached[transition.after] = (*self._reached[state], transition)
                waiting.append(transition.after)
        outcome, reason = self._stopped or ("completed", None)
        hazards = tuple(self._hazards.values())
        return Safety(
            strategy=graph.strategy,
            safe=not hazards,
            outcome=outcome,
            reason=reason,
            hazards=hazards,
            ways_back=tuple(self._ways_back()),
            states=len(self._reached),
            untried=tuple(self._untried),
        )

    def _stop(self, transition: Transition) -> tuple[ReleaseOutcome, str] | None:
        """How the release ends instead of going on; None if it goes on."""
        state = transition.before
        made = transition.change or transition.taken_back
        step = self._graph.plan.steps[state.step]
        if isinstance(step, TakeBack) and state.part == 0:
            refused = self._refused_for(state, step)
            if refused is not None:
                return "failed", f"{transition.label}: refused: {refused}"
        if made is not None:
            result = self._observed.change(state.schema.key, made)
            if result is not None and result.failed is not None:
                return "failed", f"{transition.label}: {_why_failed(result)}"
        if transition.begins is not None:
            cell = self._observed.cell(state.schema.key, transition.begins, "fresh")
            if cell is not None and cell.not_ready is not None:
                outcome: ReleaseOutcome = "failed" if transition.undo else "rolled_back"
                return outcome, (
                    f"{transition.label}: {transition.begins} does not become ready: "
                    f"{cell.not_ready}"
                )
        return None

    def _refused_for(self, state: ReleaseState, step: TakeBack) -> str | None:
        """Why changes are not taken back: a version that runs needs them."""
        schema = state.schema
        for name in step.names:
            schema = schema.without(name)
        for version in state.serving:
            cell = self._observed.cell(schema.key, version, "fresh")
            if cell is not None and cell.not_ready is not None:
                return f"{version} does not work without them: {cell.not_ready}"
        return None

    def _look_at(self, state: ReleaseState) -> None:
        path = tuple(one.label for one in self._reached[state])
        self._look_at_rows(state, path)
        if not state.serving:
            self._add(state, path, cause=NO_BACKEND, what="no version serves")
        for version in state.serving:
            self._look_at_version(state, path, version)

    def _look_at_rows(self, state: ReleaseState, path: tuple[str, ...]) -> None:
        """Rows that the last change of the schema lost, or gave another value."""
        last = self._reached[state][-1] if self._reached[state] else None
        made = None if last is None else last.change or last.taken_back
        if last is None or made is None:
            return
        result = self._observed.change(last.before.schema.key, made)
        if result is not None and result.damaged:
            back = "taking it back" if result.taken_back else "it"
            what = f"{back} changes rows that were there: {'; '.join(result.damaged)}"
            self._add(state, path, cause=f"data:{KEPT_VALUE}", what=what, where=made)

    def _look_at_version(self, state: ReleaseState, path: tuple[str, ...], version: str) -> None:
        schema, observed = state.schema.key, self._observed
        found = [
            cell
            for connections in _CONNECTIONS
            if (cell := observed.cell(schema, version, connections)) is not None
        ]
        if not found:
            on = f"after {schema[-1]}" if schema else "on the base schema"
            self._untried[f"{version} {on}"] = None
        for cell in found:
            for cause, what, endpoint in _failures(cell):
                self._add(
                    state, path, cause=cause, what=what, version=version,
                    connections=cell.connections, endpoint=endpoint,
                )  # fmt: skip
        for cell in found:
            start = self._graph.plan.start
            for what, where in (
                _changed_answers(observed, cell, start) if self._same_answers else ()
            ):
                self._add(
                    state, path, cause=ANSWER_CHANGED, what=what, version=version, where=where
                )
        for where, what in _warm_differs(found):
            self._add(
                state, path, cause=WARM_DIFFERS, what=what, version=version,
                connections="warm", where=where,
            )  # fmt: skip
        for other in state.served:
            crossing = observed.crossing(schema, other, version) if other != version else None
            for endpoint in crossing.endpoints if crossing else ():
                if not endpoint.ok:
                    self._add(
                        state, path, cause=endpoint.cause, version=version, endpoint=endpoint,
                        what=f"{version} answers a journey that {other} began: "
                        f"{_words(endpoint)}",
                    )  # fmt: skip

    def _add(
        self,
        state: ReleaseState,
        path: tuple[str, ...],
        *,
        cause: str,
        what: str,
        version: str | None = None,
        connections: Connections | None = None,
        endpoint: EndpointResult | None = None,
        where: str | None = None,
    ) -> None:
        """Note a hazard, unless an earlier state has the same one."""
        name = endpoint.endpoint if endpoint else where
        key = (version, name, cause)
        if key in self._hazards:
            return
        self._hazards[key] = Hazard(
            cause=cause,
            what=what,
            path=path,
            serving=state.serving,
            schema=state.schema.key,
            version=version,
            connections=connections,
            endpoint=name,
            statement=endpoint.statement if endpoint else None,
        )

    def _ways_back(self) -> Iterator[WayBack]:
        """From each moment with one version, to each version that has served before."""
        for state in self._reached:
            if len(state.serving) != 1 or state.idle:
                continue
            (current,) = state.serving
            for target in state.served:
                if target != current:
                    yield self._way_back(state, current, target)

    def _way_back(self, state: ReleaseState, current: str, target: str) -> WayBack:
        schema = state.schema.key
        cause = why = None
        cell = self._observed.cell(schema, target, "fresh")
        if cell is not None and not cell.ok:
            cause, why, _ = next(iter(_failures(cell)))
        crossing = self._observed.crossing(schema, current, target)
        if why is None and crossing is not None and not crossing.ok:
            failed = next(one for one in crossing.endpoints if not one.ok)
            cause = failed.cause
            why = f"{target} answers a journey that {current} began: {_words(failed)}"
        return WayBack(
            moment=_moment(self._graph.plan, state),
            step=state.step,
            schema=schema,
            serving=current,
            to=target,
            possible=why is None,
            why=why,
            cause=cause,
        )


_CONNECTIONS: tuple[Connections, ...] = ("warm", "fresh")


def _failures(cell: CellResult) -> Iterator[tuple[str, str, EndpointResult | None]]:
    if cell.not_ready is not None:
        yield (
            NOT_READY,
            f"a fresh replica of {cell.version} does not become ready: {cell.not_ready}",
            None,
        )
    for endpoint in cell.endpoints:
        if not endpoint.ok:
            who = f"{cell.version} with {cell.connections} connections"
            yield endpoint.cause, f"{who}: {_words(endpoint)}", endpoint


def _words(endpoint: EndpointResult) -> str:
    """What an endpoint answered, in a few words."""
    if endpoint.sqlstate is not None:
        why = f"{endpoint.sqlstate} {describe(endpoint.sqlstate)}"
        if endpoint.message:
            why += f": {endpoint.message}"
    elif endpoint.error is not None:
        why = f"no answer ({endpoint.error})"
    elif endpoint.mismatch is not None:
        why = endpoint.mismatch
    else:
        why = f"status {endpoint.status}"
    often = (
        ""
        if endpoint.failed == endpoint.requests
        else (f" ({endpoint.failed} of {endpoint.requests} requests)")
    )
    return f"{endpoint.endpoint} fails{often}: {why}"


def _changed_answers(observed: Observed, cell: CellResult, start: str) -> Iterator[tuple[str, str]]:
    """In what answers differ from those that the version, or the first one, gave at its start."""
    for version in dict.fromkeys((cell.version, start)):
        first = next(
            (one for one in observed.cells if one.version == version and one.ok and one.answers),
            None,
        )
        if first is None or first is cell:
            continue
        than = "" if version == cell.version else f" than {version}"
        for endpoint, shape in first.answers.items():
            now = cell.answers.get(endpoint)
            for difference in differences(shape, now) if now is not None else ():
                yield f"{cell.version}: {endpoint} answers otherwise{than}: {difference}", endpoint


def _warm_differs(cells: Sequence[CellResult]) -> Iterator[tuple[str, str]]:
    """Which steps are refused on warm connections, and not on fresh ones, both as expected.

    Not all connections of a warm replica were used before, so others may accept the same.
    """
    warm = next((one for one in cells if one.connections == "warm"), None)
    fresh = next((one for one in cells if one.connections == "fresh"), None)
    if warm is None or fresh is None:
        return
    for where, statuses in warm.statuses.items():
        now = fresh.statuses.get(where, statuses)
        refused = {status for status in statuses if status >= _REFUSED} - set(now)
        if refused:
            told, others = (" or ".join(map(str, sorted(one))) for one in (refused, now))
            words = f"with {told} on warm connections, and with {others} on fresh ones"
            yield where, f"{warm.version} answers {where} {words}"


def _why_failed(result: ChangeResult) -> str:
    return f"it fails: {result.failed}"


def _moment(plan: ReleasePlan, state: ReleaseState) -> str:
    if state.part:
        number = plan.steps[state.step].step
        return f"in step {number}, after {state.schema.applied[-1]}"
    return f"after step {plan.steps[state.step - 1].step}" if state.step else "before the release"
