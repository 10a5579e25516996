"""What it means: pure functions over recorded evidence."""

from scenarios.verdict.judge import Judgement, judge
from scenarios.verdict.model import Verdict, decode, encode

__all__ = ["Judgement", "Verdict", "decode", "encode", "judge"]
