"""The fleet: the replicas of a rollout, and what the rollout knows of each."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from orchestrator.departure import Departure
from orchestrator.model import Replica, Version
from orchestrator.request_statistics import RequestCounts

Replicas = tuple[Replica, ...]

NO_REQUESTS = RequestCounts()


@dataclass(slots=True)
class Member:
    """One replica of the fleet.

    Attributes:
        replica: the replica.
        version: the version that it runs.
        registered: whether the router knows it.
        weight: its share of the traffic, relative to the weights of the others.
        leaving: whether the rollout has begun to drain or stop it.
        lost: whether it ended or hung by itself, so that its place waits for a replacement.
        drained: whether the router sends it no new requests and those in flight have ended.
        departure: how it leaves, as far as that has happened.
        gated: how many verbs are checking it at the moment; they fail when it ends.
        before: its counts when the comparison of failures began.
        before_step: its counts when the present canary step began; latencies are compared from
            there.
    """

    replica: Replica
    version: Version
    registered: bool = False
    weight: float = 0.0
    leaving: bool = False
    lost: bool = False
    drained: bool = False
    departure: Departure = field(default_factory=Departure)
    gated: int = 0
    before: RequestCounts = NO_REQUESTS
    before_step: RequestCounts = NO_REQUESTS


class Fleet:
    """The members by id, in the order in which they joined.

    When a replica is replaced, its successor takes its place: looking up the old id then finds the
    successor.
    """

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._successors: dict[str, str] = {}

    def __iter__(self) -> Iterator[Member]:
        return iter(tuple(self._members.values()))

    @property
    def ids(self) -> Collection[str]:
        """The ids of the members."""
        return self._members.keys()

    def add(self, member: Member) -> None:
        """Add a new member at the end."""
        self._members[member.replica.id] = member

    def find(self, replica_id: str) -> Member | None:
        """The member with this id, or its successor; None when neither is in the fleet."""
        while replica_id not in self._members and replica_id in self._successors:
            replica_id = self._successors[replica_id]
        return self._members.get(replica_id)

    def present(self, replicas: Sequence[Replica]) -> list[Member]:
        """The members for these replicas or their successors, without those that are gone."""
        return [member for one in replicas if (member := self.find(one.id)) is not None]

    def remove(self, replica_id: str) -> None:
        """Remove a member that has ended."""
        self._members.pop(replica_id, None)

    def replace(self, old: str, new: str) -> None:
        """Let a member take the place of another one, which is removed."""
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
        """Each version's share of the traffic, in percent."""
        total = sum(member.weight for member in self)
        shares: dict[str, float] = {}
        for member in self:
            share = 100 * member.weight / total if total else 0.0
            shares[member.version.name] = shares.get(member.version.name, 0.0) + share
        return {version: round(share, 3) for version, share in shares.items()}
