"""What runs: the replicas of a rollout, and what is known of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.model import Replica, Version
from orchestrator.platform import Count

Replicas = tuple[Replica, ...]

NOTHING = Count()


@dataclass(slots=True)
class Member:
    """One replica of the fleet.

    Attributes:
        replica: it.
        version: what it runs.
        registered: whether the router knows it.
        weight: its share of the traffic, relative to the others'.
        leaving: whether it was told to go.
        lost: whether it ended or hung by itself, and its place waits for another.
        gated: how many verbs are just finding out whether it is good; its end fails them.
        before: what it had answered when the window of its failures began.
        before_step: what it had answered when the present step began: the window of its latencies.
    """

    replica: Replica
    version: Version
    registered: bool = False
    weight: float = 0.0
    leaving: bool = False
    lost: bool = False
    gated: int = 0
    before: Count = NOTHING
    before_step: Count = NOTHING


class Fleet:
    """The members by id, in the order of their places.

    A place outlives its replica: whoever holds a replica that was replaced finds its successor.
    """

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._successors: dict[str, str] = {}

    def __iter__(self) -> Iterator[Member]:
        return iter(tuple(self._members.values()))

    def add(self, member: Member) -> None:
        """Take in a new member, in the last place."""
        self._members[member.replica.id] = member

    def find(self, replica_id: str) -> Member | None:
        """The member with this id, or the one in its place; None when it is gone."""
        while replica_id not in self._members and replica_id in self._successors:
            replica_id = self._successors[replica_id]
        return self._members.get(replica_id)

    def present(self, replicas: Sequence[Replica]) -> list[Member]:
        """Those of them that are still there, or their successors."""
        return [member for one in replicas if (member := self.find(one.id)) is not None]

    def remove(self, replica_id: str) -> None:
        """Forget a member that has ended."""
        self._members.pop(replica_id, None)

    def replace(self, old: str, new: str) -> None:
        """Put a member into the place of another, which is forgotten."""
        successor = self._members.pop(new)
        self._members = {
            (new if name == old else name): (successor if name == old else member)
            for name, member in self._members.items()
        }
        self._successors[old] = new

    def serving(self) -> Replicas:
        """The replicas that get traffic, oldest first."""
        return tuple(one.replica for one in self if one.weight > 0)

    def all(self) -> Replicas:
        """Every replica that was started and not stopped yet, oldest first."""
        return tuple(one.replica for one in self)

    def shares(self) -> dict[str, float]:
        """How many percent of the traffic each version gets."""
        total = sum(member.weight for member in self)
        shares: dict[str, float] = {}
        for member in self:
            share = 100 * member.weight / total if total else 0.0
            shares[member.version.name] = shares.get(member.version.name, 0.0) + share
        return {version: round(share, 3) for version, share in shares.items()}
