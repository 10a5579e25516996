"""What `hitless watch --cluster` refuses without a cluster: one line each, and nothing is run."""

import sys
from pathlib import Path

import pytest

from scenarios.cli.main import status


def refused(cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    marker = tmp_path / "deployed"
    words = ["watch", "--cluster", cluster, "--url", "http://127.0.0.1:1/"]
    code = status([*words, "--out", str(tmp_path), "--no-live", "--", "touch", str(marker)])
    assert not marker.exists()
    return code, capsys.readouterr().err.strip().splitlines()[-1]


def test_a_target_of_another_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says which part is wrong, and what would be right."""
    code, told = refused("shop:web", tmp_path, capsys)
    assert code == 2
    assert told.startswith("hitless: --cluster shop:web: 'shop:web' is no name of a namespace")


def test_no_kubeconfig(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a kubeconfig there is no cluster."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    code, told = refused("shop", tmp_path, capsys)
    assert code == 2
    assert "KUBECONFIG names its file" in told


def test_without_the_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what to install."""
    for name in [one for one in sys.modules if one.partition(".")[0] == "lightkube"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightkube", None)
    code, told = refused("shop", tmp_path, capsys)
    assert code == 4
    assert "pip install 'hitless[kubernetes]'" in told


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--generators", "2", "--generator-image", "i"], "--generators needs --cluster"),
        (["--cluster", "shop", "--generators", "2"], "--generators needs --generator-image"),
        (["--cluster", "shop", "--generator-image", "i"], "--generator-image needs --generators"),
        (
            ["--cluster", "shop", "--generators", "0", "--generator-image", "i"],
            "greater than or equal to 1",
        ),
    ],
)
def test_generators_need_all_their_flags(
    flags: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each message names the flag that is missing or wrong."""
    marker = tmp_path / "deployed"
    words_of = ["watch", *flags, "--url", "http://127.0.0.1:1/", "--out", str(tmp_path)]
    assert status([*words_of, "--no-live", "--", "touch", str(marker)]) == 2
    assert not marker.exists()
    assert words in capsys.readouterr().err.strip().splitlines()[-1]
