"""PURE: how other platforms start and stop replicas by default, each value with its source.

A persona is a `TerminationPolicy` and a `RequestHandling` under the name of a platform. It has what
that platform and its router do when nothing is configured. If a value depends on the router and not
on the platform alone, the source names the router. `docs/personas.md` is generated from this data.
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
