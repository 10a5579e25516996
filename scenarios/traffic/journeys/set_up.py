"""The set-up: requests that are sent once, before any user comes."""

import asyncio
import contextlib
from collections.abc import Sequence

from scenarios.traffic.errors import Location, TrafficError
from scenarios.traffic.journeys.compiled import CompiledStep, compiled_steps
from scenarios.traffic.journeys.examination import Mismatch
from scenarios.traffic.journeys.templates import NAMES
from scenarios.traffic.plan import host_and_port
from scenarios.traffic.settings import Step, TlsSettings
from scenarios.traffic.wire.response import MalformedResponse, ResponseReader
from scenarios.traffic.wire.tls import tls_context

SET_UP = Location("set-up", ("set_up",))

_CHUNK = 64 * 1024


class SetUpError(TrafficError):
    """A request of the set-up failed; the message says which, and how."""


async def set_up(
    host: str,
    port: int,
    steps: Sequence[Step],
    *,
    seed: int,
    timeout_seconds: float,
    tls: TlsSettings | None = None,
) -> dict[str, str]:
    """Send the steps' requests one after the other; returns what they captured.

    Raises:
        PlanError: a step cannot be carried out.
        SetUpError: one failed; those after it were not sent.
    """
    values = dict.fromkeys(NAMES, "") | {
        "unique": f"s{seed}-set-up",
        "user": f"s{seed}-set-up@example.com",
        "journey": "set-up",
        "seed": str(seed),
        "worker": "0",
    }
    captured: dict[str, str] = {}
    made = compiled_steps(steps, host=host_and_port(host, port), where=SET_UP, known=frozenset())
    for number, compiled_step in enumerate(list(made), start=1):
        filled = {**values, **captured}
        what = f"set-up, step {number}: {compiled_step.endpoint_for(None)}"
        payload = compiled_step.request(filled, request_id=f"set-up-{number}-s{seed}", close=True)
        try:
            async with asyncio.timeout(timeout_seconds):
                reader = await exchange(
                    host, port, payload, is_head=compiled_step.method == "HEAD", tls=tls
                )
        except TimeoutError:
            raise SetUpError(f"{what}: no answer in {timeout_seconds:g} s") from None
        except (OSError, MalformedResponse) as error:
            raise SetUpError(f"{what}: {error}") from error
        captured |= _examine(compiled_step, reader, filled, what)
    return captured


def _examine(
    compiled_step: CompiledStep, reader: ResponseReader, values: dict[str, str], what: str
) -> dict[str, str]:
    if reader.status not in compiled_step.expect:
        expected = ", ".join(map(str, compiled_step.expect))
        problem = reader.problem()
        why = f" ({problem.title})" if problem.title else ""
        raise SetUpError(f"{what}: it was answered {reader.status}{why}, expected: {expected}")
    try:
        return compiled_step.examination.apply(reader.answer(), values)
    except Mismatch as mismatch:
        raise SetUpError(f"{what}: {mismatch}") from None


async def exchange(
    host: str, port: int, payload: bytes, *, is_head: bool, tls: TlsSettings | None = None
) -> ResponseReader:
    """Send one request on a connection of its own; returns its complete response.

    Raises:
        OSError: there is no connection, or it ended before the response did.
        MalformedResponse: what came is no response.
    """
    if tls is None:
        stream, writer = await asyncio.open_connection(host, port)
    else:
        stream, writer = await asyncio.open_connection(
            host, port, ssl=tls_context(tls), server_hostname=tls.server_name
        )
    response = ResponseReader()
    response.begin(is_head=is_head, keep=True)
    try:
        writer.write(payload)
        while not response.complete:
            data = await stream.read(_CHUNK)
            if data:
                response.feed(data)
                continue
            response.end()
            if not response.complete:
                raise ConnectionError("the connection was closed without a complete response")
    finally:
        response.close()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return response
