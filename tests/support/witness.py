"""A scenario of two versions of an application that writes down each request it gets."""

from pathlib import Path

import msgspec

APP = Path(__file__).with_name("witness_app.py")

_SCENARIO = """\
name = "witness"

[application]
command = ["{{python}}", {app}, "{{port}}", "{{replica_id}}", {seen}]
health_path = "/health"

[versions]
a = {{}}
b = {{}}

[release]
from = "a"
steps = [{{ deploy = "b" }}]

[policy]
replicas = 2

[[traffic.journeys]]
name = "order"
weight = 2
steps = [{{ method = "POST", path = "/orders", body = "one", connection = "any" }}]

"""


def write_scenario(folder: Path, seen: Path, more: str) -> Path:
    """Write the scenario file, and return its path.

    Args:
        folder: where the file is written.
        seen: the file in which the application writes down its requests.
        more: further tables of the scenario, in TOML.
    """
    app, account = (msgspec.json.encode(str(path)).decode() for path in (APP, seen))
    path = folder / "witness.toml"
    path.write_text(_SCENARIO.format(app=app, seen=account) + more)
    return path
