"""The JSON Schema of `verdict.json`, for whoever reads verdicts with a program."""

from scenarios.json_schema import described, encode
from scenarios.verdict.model import Verdict


def verdict_schema() -> bytes:
    """The JSON Schema of `verdict.json`, as published in `docs/verdict.schema.json`."""
    return encode(described(Verdict, "verdict.json of hitless, schema version 1"))
