"""The verbs of the journal: every verb that an event can have, and its meaning."""

from typing import Literal, cast, get_args

Verb = Literal[
    # The run, and the release inside of it.
    "phase",  # a part of a run: setup, baseline, rollout, settle; its name is in `detail`
    "release",  # all steps of a release
    "step",  # noted: how many steps of the release are done
    "deploy",  # one deployment by its strategy
    "rollback",  # the version before serves again, after a deployment that failed
    "keep_serving",  # a rollback was refused: serving replicas stay, all others are stopped
    "recover",  # a fleet is completed again after its orchestrator was killed
    "migrate",  # one migration, forwards or backwards
    "rehearse",  # a version is tried on a schema, away from the traffic
    "hook",  # a command before or after a verb
    # What happens to replicas.
    "start",  # processes are started
    "wait_ready",  # they become ready, and the router's checks confirm it
    "preview",  # test requests to replicas that have no traffic yet
    "attach",  # replicas get a full share of the traffic
    "weigh",  # replicas get a percentage of the traffic
    "switch",  # all traffic moves at once
    "soak",  # replicas serve for a while and must stay healthy
    "pause",  # a wait for a person or for a time
    "analyse",  # a canary is judged
    "drain",  # no new requests; the requests in flight end
    "stop",  # replicas are asked to stop, and end
    # What happens beside a release.
    "heal",  # a lost replica is replaced
    "scale",  # the number of replicas changes
    # What is observed, or done by a test.
    "replica",  # noted: a replica ended that nobody had stopped
    "fault",  # a fault that the scenario asks for
    "database",  # noted: the database went away or came back
    "table",  # noted: a table was rewritten or replaced
    "index",  # noted: an index is not valid
    "step_effect",  # noted: a step that migrates changed nothing, as a copy of the database shows
    "fresh_start",  # noted: whether a serving version could still be started after a migration
    "keep_alive",  # noted: the server closes idle connections that the router still uses
]
"""A verb of the journal; a type, so that the type checker refuses any other."""

VERBS: frozenset[str] = frozenset(get_args(Verb))
"""The same verbs, for checks at run time."""


def verb_named(text: str) -> Verb:
    """Return the text as a verb.

    Raises:
        ValueError: the vocabulary has no such verb.
    """
    if text not in VERBS:
        raise ValueError(f"{text!r} is no verb of the journal; add it to orchestrator.verbs")
    return cast(Verb, text)
