"""The requests that only the balancer saved."""

import msgspec


class Rescued(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that succeeded only because of the balancer; another balancer may drop them.

    Attributes:
        retried: how many failed on one replica and succeeded in a further attempt.
        closed: how many of those had been sent to a replica that closed the connection before it
            answered.
        held: how many waited until a replica was available.
        died: how many replicas ended by themselves in service.
    """

    retried: int = 0
    closed: int = 0
    held: int = 0
    died: int = 0

    @property
    def words(self) -> str:
        """The same for people; empty if the balancer saved nothing."""
        under = (
            f" ({self.closed:,} of them on a connection that the replica closed under the request)"
            if self.closed
            else ""
        )
        parts = (
            (self.retried, f"answered by a retry after a replica had failed it{under}"),
            (self.held, "held until a replica was available"),
        )
        said = [f"{count:,} {how}" for count, how in parts if count]
        if said and self.died:
            said.append(f"{self.died:,} replica{'' if self.died == 1 else 's'} died in service")
        return "; ".join(said)
