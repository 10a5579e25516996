"""The types of single settings in a policy, and the error of a policy that cannot be followed."""

import math
from typing import Annotated

import msgspec

from orchestrator.errors import OrchestratorError

Count = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Percentage = Annotated[float, msgspec.Meta(gt=0, le=100)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]
Command = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
# The pattern is for editors; `orchestrator.policy` has the message for people.
Quantity = (
    Annotated[int, msgspec.Meta(ge=0)]
    | Annotated[str, msgspec.Meta(extra_json_schema={"pattern": "^[0-9]+%?$"})]
)
PATH_PATTERN = r"^/[!-~]*$(?!\n)"
HttpPath = Annotated[str, msgspec.Meta(pattern=PATH_PATTERN)]
"""A path of HTTP, with a query if it has one: visible characters of ASCII (RFC 9112, 3.2)."""


class PolicyError(OrchestratorError, ValueError):
    """A policy that no rollout can follow.

    The message begins with the setting and says which values are right. It is a `ValueError`, so
    that `msgspec` adds the place in the file where the setting was read.

    Attributes:
        keys: the path from the table that was read to the wrong setting; may be empty.
    """

    def __init__(self, message: str, *keys: str) -> None:
        super().__init__(message)
        self.keys = keys


def check_numbers(settings: msgspec.Struct) -> None:
    """Check that every float of a struct is a finite number, 0 or more.

    Raises:
        PolicyError: one is not.
    """
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
            raise PolicyError(f"{name} is {value}; it must be a number, 0 or more", name)
