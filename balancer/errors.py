"""The errors that the balancer raises on purpose."""


class BalancerError(Exception):
    """The root: anything that this package raises on purpose."""


class ConfigError(BalancerError):
    """The operator asked for something impossible; the message says what would be right."""


class StartError(BalancerError):
    """The configuration is sound but the machine refused it: an address in use, too few files."""


class UnknownBackendError(BalancerError):
    """No backend has this id."""


class ConflictError(BalancerError):
    """The request is well formed, but the state of a backend forbids it; nothing was changed."""


class HandedOverError(BalancerError):
    """Another process takes over; ask that one."""


class IllegalTransitionError(BalancerError):
    """The lifecycle table does not allow this change of state; nothing was changed."""


class MessageError(BalancerError):
    """A peer's HTTP message breaks a rule.

    Attributes:
        status: the status of the answer to it.
        reason: the rule, in a constant phrase that holds no byte of the message.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
