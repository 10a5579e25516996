"""The cluster of `make test-kubernetes` says what did not come up, and has a deadline."""

from pathlib import Path

import pytest

from tests.kubernetes.machine import inside
from tests.kubernetes.machine.daemons import CannotStartError

KUBECTL = """#!/bin/sh
case "$*" in
*"get nodes"*) printf '%s' "{nodes}" ;;
*) echo 'Error from server (NotFound)'; exit {status} ;;
esac
"""
READY = "node-1 Ready 1s node-2 Ready 1s"


def wait(folder: Path, nodes: str, status: int) -> None:
    """Wait for a cluster whose kubectl gives these answers."""
    program = folder / "kubectl"
    program.write_text(KUBECTL.format(nodes=nodes, status=status))
    program.chmod(0o755)
    inside._wait_for_nodes(folder, folder / "kubeconfig")


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ("node-1 NotReady", "the nodes are not ready: node-1 NotReady"),
        (READY, "there is no service account for pods: Error from server"),
    ],
)
def test_what_does_not_come_up_is_told(
    nodes: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes, and the account that each pod needs: after three minutes the line names it."""
    monkeypatch.setattr(inside, "_READY_SECONDS", 0.0)
    with pytest.raises(CannotStartError, match=said):
        wait(tmp_path, nodes, status=1)


def test_a_cluster_that_has_both_is_ready(tmp_path: Path) -> None:
    """The wait ends by itself."""
    wait(tmp_path, READY, status=0)
