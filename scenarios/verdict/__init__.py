"""What it means: pure functions over recorded evidence."""

from scenarios.verdict.judge import Judgement, judge
from scenarios.verdict.model import SCHEMA, Verdict, decode, encode

__all__ = ["SCHEMA", "Judgement", "Verdict", "decode", "encode", "judge"]
