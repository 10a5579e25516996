"""The exit statuses of every command, the load generator's process included."""

from enum import IntEnum
from typing import Self


class ExitStatus(IntEnum):
    """What the exit status of a command says.

    Attributes:
        meaning: its meaning in a few words, as `--help` shows it.
    """

    meaning: str

    PASS = 0, "the verdict is pass, or a command without a verdict succeeded"
    FAIL = 1, "the verdict is fail"
    USAGE = 2, "wrong usage or an invalid scenario file"
    INVALID = 3, "the verdict is invalid: the run says nothing about the release"
    ENVIRONMENT = 4, "the environment failed"
    INTERRUPTED = 130, "interrupted"  # 128 + SIGINT, as shells report it

    def __new__(cls, value: int, meaning: str) -> Self:
        """A member: its number, and what it means."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member
