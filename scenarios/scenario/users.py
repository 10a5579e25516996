"""From what a scenario says of its users to what the load generator is asked for."""

from pathlib import Path

from scenarios.evidence.run_folder import RunFolder
from scenarios.scenario.spec import TrafficSpec
from scenarios.traffic.plan import Plan


def plan_for(traffic: TrafficSpec, *, host: str, port: int, seed: int, folder: Path) -> Plan:
    """What the users do, and to whom.

    Args:
        traffic: what the scenario says; its files can be opened from here.
        host: where the requests go.
        port: the same.
        seed: of all randomness.
        folder: for the evidence.
    """
    return Plan(
        host=host,
        port=port,
        rate=traffic.rate,
        journeys=traffic.journeys,
        known=tuple(name for step in traffic.set_up for name in step.capture),
        requests_path=str(RunFolder(folder).requests.path),
        mails_path=str(RunFolder(folder).mails.path),
        arrivals=traffic.arrivals,
        profile=traffic.profile,
        arrivals_path=traffic.arrivals_path,
        shards=traffic.processes,
        seed=seed,
        timeout_seconds=traffic.timeout_seconds,
        mail_domain=traffic.mail_domain,
    )
