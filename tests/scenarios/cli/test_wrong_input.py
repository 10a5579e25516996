"""Wrong input of every kind, for every command: one line, exit status 2, and nothing started.

`{x}` in a command is a file or folder that the fixture makes. What is wrong on the command line
itself is in `test_cli`; what the machine refuses is in `test_environment`.
"""

import json
import os
from pathlib import Path

import pytest

from scenarios.cli.commands import COMMANDS
from scenarios.cli.main import status
from scenarios.evidence.manifest import SCHEMA
from scenarios.scenario.drafts import source

GOOD = """
name = "x"
application = { command = ["{python}", "app.py", "{port}"] }
versions = { old = {}, new = {} }
release = { from = "old", steps = [{ deploy = "new" }] }
traffic = { rate = 30, journeys = [{ name = "look", steps = [{ path = "/" }] }] }
"""
FILES = {
    "empty.toml": b"",
    "binary.toml": bytes(range(256)),
    "utf16.toml": 'name = "x"'.encode("utf-16"),
    "deep.toml": b"a = " + b"[" * 5000,
    "unknown.toml": f"{GOOD}nope = 1\n".encode(),
    "infinite.toml": f"{GOOD}objectives = {{ lock_wait_seconds = inf }}\n".encode(),
    "not-a-number.toml": f"{GOOD}objectives = {{ latency_seconds = nan }}\n".encode(),
    "month.toml": f"{GOOD}phases = {{ settle_seconds = 2600000 }}\n".encode(),
    "spaced.toml": GOOD.replace("\nversions", "\nreadiness = 1\nversions").encode(),
    "path.toml": GOOD.replace('port}"] }', "port}\"], health_path = '/a b' }").encode(),
    "many.toml": GOOD.replace("rate = 30", "processes = 100000").encode(),
    "profile.toml": GOOD.replace("30", "1, profile = [{ at_seconds = 0, rate = 1e300 }]").encode(),
    "arrivals.toml": GOOD.replace(
        "rate = 30", 'arrivals = "recorded", arrivals_path = "prose.log"'
    ).encode(),
    "wrong-type.toml": f'{GOOD}policy = {{ replicas = "3" }}\n'.encode(),
    "empty.json": b"",
    "list.json": b"[]",
    "deep.json": b"[" * 100_000,
    "binary.json": bytes(range(256)) * 4,
    "within.yaml": b"&a [*a]\n",
    "swagger.json": b'{"swagger": "2.0", "paths": {}}',
    "no-entries.har": b'{"log": {"entries": []}}',
    "prose.log": b"hello\nworld\n",
    "program": b"#!/bin/sh\n",
}
WRONG = [
    ("run .", "'.' is a folder; the name of a scenario file ends in .toml"),
    ("run {empty.toml}", "this key is required, but absent"),
    ("run {binary.toml}", "not UTF-8 text"),
    ("run {utf16.toml}", "not UTF-8 text"),
    ("run {deep.toml}", "deep.toml: nested too deeply"),
    ("run {folder.toml}", "this is a folder; expected a scenario file"),
    ("run {loop.toml}", "this scenario file does not exist"),
    (f"run {'x' * 300}.toml", "File name too long"),
    ("run {unknown.toml}", "key 'nope': unknown key"),
    ("run {spaced.toml}", "key 'readiness': unknown key"),
    ("run {infinite.toml}", "'objectives.lock_wait_seconds': expected a finite number, got inf"),
    ("run {not-a-number.toml}", "key 'objectives.latency_seconds': "),
    ("run {month.toml}", "key 'phases.settle_seconds': expected float <= 604800"),
    ("run {path.toml}", "key 'application.health_path': expected a path, which begins with /"),
    ("run {many.toml}", "key 'traffic.processes': expected int <= 64"),
    ("run {profile.toml}", "key 'traffic.profile.rate': expected float <= 10000000"),
    ("run {arrivals.toml}", "prose.log, line 1: 'hello' is not a number"),
    ("run {wrong-type.toml}", "key 'policy.replicas': expected int, got str"),
    ("run --baseline inf", "Invalid value for '--baseline': "),
    ("run --settle nan", "Invalid value for '--settle': "),
    ("run --rate 1e99", "expected a number above 0, and at most 10,000,000"),
    ("run --repeat 99999999999999999999", "Invalid value for '--repeat': "),
    ("run --runs 99999999999999999999", "Invalid value for '--runs': "),
    ("run --database mysql://u:hush@h/x", "not a database URL: mysql://u:***@h/x; it should look"),
    ("run --database postgresql://h:99999/x", "not a database URL: postgresql://h:99999/x"),
    ("run --out {program}", "program is no folder"),
    ("run --out /dev/null/x", "/dev/null is no folder"),
    ("check {binary.toml}", "not UTF-8 text"),
    ("check big-bang --database x", "not a database URL: x"),
    ("check big-bang --junit {folder.toml}", "this is a folder; expected the path of a file"),
    ("matrix {folder.toml}", "this is a folder; expected a scenario file"),
    ("matrix --database x", "not a database URL: x"),
    ("demo --rate 0", "expected a number above 0"),
    ("demo --out {program}", "--out "),
    ("demo extra", "unexpected extra argument"),
    ("ctl {folder.toml} pause", "no run is active in this folder"),
    ("ctl {program} pause", "no run is active in this folder (Not a directory)"),
    ("ctl {folder.toml} pauze", "did you mean 'pause'?"),
    ("list extra", "unexpected extra argument"),
    ("report {program}", "program: this is no folder"),
    ("report {folder.toml}", "not the folder of a run: it has no run.json"),
    ("report {binary-run}", "run.json: "),
    ("report {newer-run}", f"its schema is {SCHEMA + 1}, and this hitless reads up to {SCHEMA}"),
    ("report {huge-run}", "run.json: "),
    ("compare {newer-run} {newer-run}", f"its schema is {SCHEMA + 1}, and this hitless reads"),
    ("compare {newer-run}", "expected the folders of two runs or more"),
    ("compare a b --html {folder.toml}", "this is a folder; expected the path of a file"),
    ("compare a b --html {folder.toml}/x/y.html", "there is no folder "),
    ("explain {newer-run} s1-1-1", f"its schema is {SCHEMA + 1}"),
    ("explain {folder.toml} s1-1-1", "not the folder of a run: it has no run.json"),
    ("watch --url x", "--url x: expected a URL such as"),
    ("watch --url http://a_b..c/", "a_b..c is not a host's name or address"),
    ("watch --url http://127.0.0.1:0/", "no server listens on port 0"),
    ("watch --url http://127.0.0.1:99999/", "--url http://127.0.0.1:99999/: "),
    ("watch --url http://u:hush@127.0.0.1/", "http://…@127.0.0.1 has a user or a password"),
    ("watch --url http://127.0.0.1/ --logs {prose.log}.1", "there is no such file"),
    ("watch --url http://127.0.0.1/ --bearer NOT_SET", "variable 'NOT_SET' is not set"),
    ("watch --url http://127.0.0.1/ --header X", "expected NAME=VARIABLE"),
    ("watch --url http://127.0.0.1/ --expect 99", "Invalid value for '--expect': "),
    ("watch --url http://127.0.0.1/ --baseline inf", "Invalid value for '--baseline': "),
    ("watch --url http://127.0.0.1/ --database x", "not a database URL: x"),
    ("watch --url http://127.0.0.1/ -- no-such-program", "no program no-such-program on PATH"),
    ("watch --url http://127.0.0.1/ -- {program}", "program is not executable (chmod +x)"),
    ("watch --url https://127.0.0.1/ --cacert {program}", "expected certificates in PEM"),
    ("probe {empty.toml} --version a", "this key is required, but absent"),
    ("probe -- {folder.toml}", "folder.toml"),
    ("probe -- no-such-program {port}", "there is no program no-such-program on PATH"),
    ("probe --persona x -- sleep", "--persona x: there are: kubernetes"),
    ("init {new.toml} --old x --from {empty.json}", "empty.json: Input data was truncated"),
    ("init {new.toml} --old x --from {list.json}", "list.json: "),
    ("init {new.toml} --old x --from {deep.json}", "nested too deeply, or within itself"),
    ("init {new.toml} --old x --from {within.yaml}", "nested too deeply, or within itself"),
    ("init {new.toml} --old x --from {binary.json}", "binary.json: "),
    ("init {new.toml} --old x --from {folder.toml}", "folder.toml: Is a directory"),
    ("init {new.toml} --old x --from {swagger.json}", "swagger 2.0 is too old"),
    ("init {new.toml} --old x --from {no-entries.har}", "no-entries.har: "),
    ("init {new.toml} --old x --from {prose.log}", "prose.log: "),
    ("init {new.toml} --old x --from /dev/zero", "/dev/zero: larger than "),
    ("init {new.toml} --old x --from http://h/x.json", "save what it answers to a file first"),
    ("init {new.toml} --old x --visit y", "--visit 'y': a path must begin with /"),
    ("init {folder.toml} --old x", "this is a folder; expected the path of a file"),
    ("init {empty.toml} --old x", "empty.toml already exists; --force overwrites it"),
    ("init {program}/x.toml --old x", "x.toml: Not a directory"),
    ("calibrate {folder.toml}", "not the folder of a run: it has no run.json"),
    ("calibrate {binary-run}", "run.json: "),
    ("calibrate a --out {folder.toml}", "this is a folder; expected the path of a file"),
    ("clean", "hitless clean needs --cluster: "),
    ("fuzz --seconds inf", "Invalid value for '--seconds': "),
    ("fuzz --replay {folder.toml}", "folder.toml: Is a directory"),
    ("fuzz --replay /dev/zero", "/dev/zero: larger than 64 MiB"),
    ("fuzz --replay {list.json}", "list.json: Expected `object`, got `array`"),
    ("fuzz --out {program}", "program is no folder"),
    ("sweep {empty.toml} --vary policy.replicas=1,2", "this key is required, but absent"),
    ("sweep --vary policy.replicas", "--vary policy.replicas"),
    ("sweep --vary policy.nope=1,2", "unknown key"),
    ("sweep --vary policy.replicas=1,x", "--vary policy.replicas=1,x: key 'policy.replicas': "),
    ("sweep --vary policy.replicas=1,2 --plot {folder.toml}", "expected the path of a file"),
    ("schema nope", "nope"),
    ("help nope", "no help about 'nope'"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file or folder of each wrong kind."""
    place = tmp_path_factory.mktemp("wrong")
    for name, content in FILES.items():
        (place / name).write_bytes(content)
    (place / "folder.toml").mkdir()
    os.symlink("loop.toml", place / "loop.toml")  # noqa: PTH211 - a link to itself
    for name, content in {
        "binary-run": bytes(range(256)),
        "newer-run": json.dumps({"schema": SCHEMA + 1, "hitless": "9.9.9"}).encode(),
        "huge-run": json.dumps({"schema": SCHEMA, "replicas": 10**400}).encode(),
    }.items():
        (place / name).mkdir()
        (place / name / "run.json").write_bytes(content)
    return place


@pytest.mark.parametrize(("line", "message"), WRONG, ids=[line for line, _ in WRONG])
def test_wrong_input_is_one_line_and_status_2(  # noqa: PLR0917 - the case and its surroundings
    line: str,
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever is wrong is said in one line, which names it; no run is made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(source, "_MOST_BYTES", 1 << 20)  # /dev/zero gives more than that, too
    arguments = [word.replace("{", f"{folder}/").replace("}", "") for word in line.split()]
    assert status(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("hitless: ")
    assert said.err.count("\n") == 1
    assert message in said.err
    assert list(tmp_path.iterdir()) == []


def test_every_command_has_wrong_input() -> None:
    """No command is left out of the table."""
    assert {line.split()[0] for line, _ in WRONG} == set(COMMANDS)
