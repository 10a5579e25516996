"""What a scenario must not ask for where strategies of ours make pods behind a Service."""

from scenarios.errors import ScenarioError
from scenarios.scenario.reader import Loaded

_OF_A_BALANCER = ("affinity_cookie", "hold_seconds")


def check_pods(loaded: Loaded, strategy: str) -> None:
    """Refuse what a Service of the cluster cannot do, and what makes pods by itself.

    Args:
        loaded: the scenario.
        strategy: the strategy of the run, one of ours.

    Raises:
        ScenarioError: the scenario asks for such a thing.
    """
    scenario = loaded.scenario
    if scenario.platform.apply is not None:
        raise ScenarioError(
            f"{loaded.at('platform', 'apply')}a command that applies a version makes its pods, "
            f"too; for the strategy {strategy} hitless makes them: name manifests instead"
        )
    for key in _OF_A_BALANCER:
        if loaded.sets("balancer", key):
            raise ScenarioError(
                f"{loaded.at('balancer', key)}only our own balancer can do that, and on a cluster "
                "its Service sends the connections to the pods; leave it out"
            )
    if scenario.policy.autoscaling is not None:
        raise ScenarioError(
            f"{loaded.at('policy', 'autoscaling')}a Service of the cluster does not tell how many "
            "requests are in flight; leave it out"
        )
    if strategy != "canary":
        return
    judged = loaded.sets("policy", "analysis") or any(
        not isinstance(step, int | float) and step.analysis for step in scenario.policy.canary_steps
    )
    if judged:
        key = "analysis" if loaded.sets("policy", "analysis") else "canary_steps"
        raise ScenarioError(
            f"{loaded.at('policy', key)}a canary is judged by the requests that our balancer "
            "counts, and a Service of the cluster counts none; leave the analysis out: then each "
            "step only waits, and its pods must stay ready"
        )
