"""Exchanges that know whose they are, and what is recorded of them."""

import asyncio
from collections.abc import Mapping

from scenarios.evidence.outcome import Outcome
from scenarios.traffic.agenda import PlannedRequest
from scenarios.traffic.journeys.compiled import CompiledJourney
from scenarios.traffic.journeys.examination import Mismatch
from scenarios.traffic.wire.connection import ClientExchange


class JourneyExchange(ClientExchange):
    """An exchange that knows whose it is.

    Attributes:
        look: whether it is noted what its answer looks like.
    """

    __slots__ = ("journey", "look", "planned", "request_id", "subject", "value", "values")

    planned: PlannedRequest
    look: bool
    journey: CompiledJourney
    request_id: str
    subject: str | None
    value: str | None
    values: Mapping[str, str] | None

    def examine(self) -> tuple[str | None, Mapping[str, str] | None]:
        """In what the answer is not as expected, if its status is; and all that was captured."""
        step, captured = self.journey.steps[self.planned.step], self.planned.captured
        if self.answer is None or self.values is None or self.status not in step.expect:
            return None, captured
        try:
            found = step.examination.apply(self.answer, self.values)
        except Mismatch as mismatch:
            return str(mismatch), captured
        return None, {**(captured or {}), **found} if found else captured

    def outcome(self, mismatch: str | None) -> Outcome:
        """The line that is recorded."""
        step = self.journey.steps[self.planned.step]
        return Outcome(
            request_id=self.request_id,
            journey=self.journey.name,
            endpoint=step.endpoint_for(self.planned.link),
            connection="new" if self.opened else "reused",
            planned_ns=self.planned.planned_ns,
            done_ns=self.done_ns,
            expected=step.expect,
            sent_ns=self.sent_ns,
            first_byte_ns=self.first_byte_ns,
            status=self.status,
            error=self.error,
            error_detail=self.error_detail,
            errno=self.errno,
            served_by=self.served_by,
            proxy_status=self.proxy_status,
            sqlstate=self.sqlstate,
            problem=self.problem,
            mismatch=mismatch,
            subject=self.subject,
            value=self.value,
            shape=None if self.shape is None else self.shape.name,
            shape_values=None if self.shape is None else self.shape.values,
            cause_id=self.planned.cause_id,
            paced=step.is_paced or step.lasting is not None,
            user=None if self.browser is None else self.browser.user,
            closed=self.closed,
            reopens=self.planned.reopened is not None,
            missed=self.missed,
            http2=self.http2,
        )


class AwaitedExchange(ClientExchange):
    """An exchange that a coroutine waits for."""

    __slots__ = ("done",)

    done: asyncio.Future[None]
