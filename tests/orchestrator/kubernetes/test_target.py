"""Which part of a cluster `--cluster` names."""

import pytest

from orchestrator.kubernetes.target import ClusterTarget, target_of


@pytest.mark.parametrize(
    ("text", "context", "namespace", "deployment"),
    [
        ("shop", None, "shop", None),
        ("shop:deployment/web", None, "shop", "web"),
        ("kind-dev/shop", "kind-dev", "shop", None),
        ("kind-dev/shop:deployment/web.v2", "kind-dev", "shop", "web.v2"),
        (
            "arn:aws:eks:eu-west-1:1:cluster/prod/shop:deployment/web",
            "arn:aws:eks:eu-west-1:1:cluster/prod",
            "shop",
            "web",
        ),
    ],
)
def test_context_namespace_and_deployment(
    text: str, context: str | None, namespace: str, deployment: str | None
) -> None:
    """A context may have slashes and colons; what was read is written the same again."""
    target = target_of(text)
    assert target == ClusterTarget(context=context, namespace=namespace, deployment=deployment)
    assert str(target) == text


@pytest.mark.parametrize("text", ["", "Shop", "shop/", "shop:web", "shop:deployment/", "a:b/c_d"])
def test_another_form_is_refused(text: str) -> None:
    """The message says what would be right."""
    with pytest.raises(ValueError, match=r"expected \[CONTEXT/\]NAMESPACE"):
        target_of(text)
