"""PURE: how other platforms let replicas leave and come by default, each value with its source.

A persona is a `TerminationPolicy` and a `RequestHandling` under the name of a platform. It says
what that platform and its router do when nothing is configured. Where a value depends on the router
beside the platform, the source says which router is meant. `docs/personas.md` is written from this
data.
"""

from collections.abc import Mapping

from orchestrator.personas.compose import COMPOSE
from orchestrator.personas.ecs import ECS
from orchestrator.personas.kubernetes import KUBERNETES
from orchestrator.personas.nomad import NOMAD
from orchestrator.personas.persona import Persona, PersonaName, RequestHandling, Source
from orchestrator.personas.swarm import SWARM
from orchestrator.personas.systemd import SYSTEMD

__all__ = ["PERSONAS", "Persona", "PersonaName", "RequestHandling", "Source"]

PERSONAS: Mapping[str, Persona] = {
    one.name: one for one in (KUBERNETES, ECS, NOMAD, SWARM, COMPOSE, SYSTEMD)
}
"""The personas by the names that people type."""
