"""What is wrong with the traffic, and with which key of its settings."""

from typing import NamedTuple


class TrafficError(Exception):
    """The traffic cannot go on; the message says what is wrong, where, and what would be right."""


class PlanError(TrafficError):
    """A plan or a command cannot be carried out; the message names what is wrong with it.

    Attributes:
        keys: the path from the traffic settings to the wrong key, such as `journeys`, `0`, `steps`,
            `1`, `path`; empty when no setting is wrong.
    """

    def __init__(self, message: str, keys: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.keys = keys


class Location(NamedTuple):
    """A part of the traffic settings.

    Attributes:
        label: how messages name it, such as `journey subscribe, step 1`.
        keys: the path to it, as in `PlanError`.
    """

    label: str
    keys: tuple[str, ...] = ()

    def part(self, label: str, *keys: str) -> "Location":
        """A part of this part.

        Args:
            label: how messages name it within this one.
            keys: the path to it from this one.
        """
        return Location(f"{self.label}, {label}", (*self.keys, *keys))

    def error(self, problem: str, *keys: str) -> PlanError:
        """The error that something is wrong here, or at the keys below."""
        return PlanError(f"{self.label}: {problem}", (*self.keys, *keys))


def declared_location(where: Location, number: int, login: int) -> Location:
    """Where a step is that comes behind those of a login, which have a key of their own.

    Args:
        where: the journey.
        number: which step, from 1 on; those of the login come first.
        login: how many steps the login has.
    """
    if number <= login:
        return where.part(f"login step {number}", "login", str(number - 1))
    return step_location(where, number - login)


def step_location(steps_of: Location, number: int) -> Location:
    """The location of a step of a journey, or of the set-up; numbers count from 1."""
    within = () if steps_of.keys == ("set_up",) else ("steps",)
    return steps_of.part(f"step {number}", *within, str(number - 1))
