"""What it means: pure functions over recorded evidence."""

from scenarios.verdict.model import Verdict, decode, encode
from scenarios.verdict.verdict import judge

__all__ = ["Verdict", "decode", "encode", "judge"]
