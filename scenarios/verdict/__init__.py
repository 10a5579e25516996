"""What it means: pure functions over recorded evidence."""

from scenarios.verdict.judge import judge
from scenarios.verdict.model import Verdict, decode, encode

__all__ = ["Verdict", "decode", "encode", "judge"]
