"""PURE: what a persona is: a platform's defaults, each with its source."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from orchestrator.termination import TerminationPolicy

PersonaName = Literal["kubernetes", "ecs", "nomad", "swarm", "compose", "systemd"]
"""The names of the personas."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value comes from.

    Attributes:
        url: the platform's own documentation or source code.
        says: what it says, in our words.
    """

    url: str
    says: str


class RequestHandling(msgspec.Struct, frozen=True, kw_only=True):
    """What a platform's router does with requests and with its backends; keys of `[balancer]`.

    Attributes:
        retry: whether a request is tried again when a backend refuses or loses it.
        passive_checks: whether failures of live requests take a backend out.
        active_checks: whether a backend that gets requests is checked by the router.
        reuse_post: whether a POST goes on a kept connection, which its backend may be closing.
    """

    retry: bool
    passive_checks: bool
    active_checks: bool
    reuse_post: bool


@dataclass(frozen=True, slots=True)
class Persona:
    """A platform's default behaviour.

    Attributes:
        name: what people type, such as `kubernetes`.
        title: the platform's name in prose.
        summary: what happens when a replica leaves, in one sentence.
        termination: how replicas are started and stopped.
        handling: what the platform's router does with requests; a run behind another router than
            our own balancer does not use it.
        sources: for each setting of `termination` and `handling`, where its value comes from.
        limits: what of the platform the settings do not cover.
    """

    name: str
    title: str
    summary: str
    termination: TerminationPolicy
    handling: RequestHandling
    sources: Mapping[str, Source]
    limits: str
