"""Which Service a URL leads to, and whether it selects the pods that are looked at."""

from typing import Any

import pytest

from scenarios.recording.cluster.reach import Reached, mismatch, reached

SERVICES: list[dict[str, Any]] = [
    {
        "metadata": {"name": "web"},
        "spec": {
            "clusterIP": "10.79.0.5",
            "selector": {"app": "web"},
            "ports": [{"port": 80, "nodePort": 30080}],
        },
        "status": {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}},
    },
    {
        "metadata": {"name": "other"},
        "spec": {"clusterIP": "None", "selector": {"app": "other"}, "ports": [{"port": 80}]},
    },
]


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("10.77.0.11", 30080, "web"),
        ("10.79.0.5", 80, "web"),
        ("lb.example.com", 80, "web"),
        ("web.shop.svc.cluster.local", 80, "web"),
        ("other.shop", 80, "other"),
        ("shop.example.com", 443, None),
        ("None", 80, None),
    ],
)
def test_the_service_behind_a_url(host: str, port: int, name: str | None) -> None:
    """By node port, cluster IP, load balancer or DNS name; an Ingress has none of these."""
    found = reached(SERVICES, "shop", host, port)
    assert (None if found is None else found.name) == name


def test_a_service_that_selects_other_pods() -> None:
    """The message has both sets of labels."""
    assert mismatch(Reached("web", {"app": "web"}), "web", {"app": "web", "tier": "front"}) is None
    told = mismatch(Reached("other", {"app": "other"}), "web", {"app": "web"})
    assert told is not None
    assert "service/other has this address and selects app=other" in told
    assert "the pods of deployment/web have app=web" in told
    assert mismatch(Reached("bare", {}), "web", {"app": "web"}) is not None
