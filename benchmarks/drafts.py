"""Whether files that other tools wrote become scenarios that run.

    python -m benchmarks.drafts [--folder DIR]

It installs FastAPI and Playwright in a folder, starts one application
(`benchmarks/draft_apps/notes.py`) behind nginx, and lets each tool write its file: FastAPI the
OpenAPI document (as JSON and as YAML), Chromium through Playwright the recording (HAR) of a visit,
nginx the access log of that visit. Of each, `hitless init --from` makes a scenario, and
`hitless run` deploys with it. Needs Chromium (`chromium` on PATH) and nginx. Exit status 1 if a
scenario fails, and 3 if a run says nothing, since the machine was too busy.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import requests

from benchmarks.machine import free_port, how_busy, moment, wait_port
from scenarios.cli.main import status
from scenarios.verdict import decode

APPS = Path(__file__).parent / "draft_apps"
PACKAGES = ("fastapi", "uvicorn", "python-multipart", "playwright", "pyyaml")
NGINX = """\
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log {folder}/access.log combined;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{origin}; }}
    }}
}}
"""
VISIT = """\
import sys
from playwright.sync_api import sync_playwright

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"])
    context = browser.new_context(record_har_path=sys.argv[3])
    page = context.new_page()
    page.goto(sys.argv[2])
    page.click("#api")
    page.wait_for_function("document.title == 'done'")
    page.fill("[name=email]", "alice@example.com")
    page.fill("[name=words]", "good day to you")
    page.click("text=Send")
    page.wait_for_url("**/thanks/**")
    context.close()
    browser.close()
"""
SMALL = ["--replicas", "2", "--baseline", "1", "--settle", "0.5", "--rate", "5", "--no-live"]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where packages are kept for the next time")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = given.folder or temporary
        folder.mkdir(parents=True, exist_ok=True)
        python = installed(folder / "env")
        files = written(python, temporary)
        before = moment()
        results = {name: deployed(python, file, temporary) for name, file in files.items()}
        sys.stdout.write(f"{how_busy(before, 0.0)}\n")
    for name, result in results.items():
        sys.stdout.write(f"{name:14} {result}\n")
    endings = {result.partition(":")[0] for result in results.values()}
    return 0 if endings == {"pass"} else 3 if endings <= {"pass", "invalid"} else 1


def installed(env: Path) -> Path:
    """The interpreter of an environment with the tools."""
    python = env / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", env], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def written(python: Path, folder: Path) -> dict[str, Path]:
    """One file of each tool."""
    with application(python, folder) as (origin, log):
        document = folder / "openapi.json"
        url = f"http://127.0.0.1:{origin}"
        document.write_bytes(requests.get(f"{url}/openapi.json", timeout=10).content)
        recording = folder / "visit.har"
        chromium = shutil.which("chromium") or "chromium"
        visit = [str(python), "-c", VISIT, chromium, url, str(recording)]
        subprocess.run(visit, check=True, timeout=120)
    plain = folder / "openapi.yaml"
    convert = "import json, sys, yaml; yaml.safe_dump(json.load(sys.stdin), sys.stdout)"
    with document.open("rb") as read, plain.open("wb") as write:
        subprocess.run([python, "-c", convert], stdin=read, stdout=write, check=True)
    # An access log has no bodies: what the script made does not exist in a new database.
    kept = [
        line for line in log.read_text().splitlines() if " 200 " in line and "/guest/" not in line
    ]
    log.write_text("\n".join(line for line in kept if "/thanks/" not in line) + "\n")
    return {
        "OpenAPI, JSON": document,
        "OpenAPI, YAML": plain,
        "HAR": recording,
        "access log": log,
    }


@contextlib.contextmanager
def application(python: Path, folder: Path) -> Iterator[tuple[int, Path]]:
    """The application behind nginx: nginx's port, and its log."""
    port, origin = free_port(), free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, port=port, origin=origin))
    serve = [str(word).format(host="127.0.0.1", port=origin) for word in command(python)]
    environment = {**os.environ, "NOTES_DB": str(folder / "first.db")}
    with contextlib.ExitStack() as stack:
        # One after the other, so that nginx has no reason to complain: what they say is shown.
        nginx = ["nginx", "-p", str(folder), "-c", str(configuration)]
        for words, at in ((serve, origin), (nginx, port)):
            process = subprocess.Popen(words, env=environment)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            wait_port(at, of=process)
        yield port, folder / "access.log"


def command(python: Path) -> list[str]:
    """What starts the application."""
    serve = [str(python), "-m", "uvicorn", "--app-dir", str(APPS), "notes:app"]
    return [*serve, "--host", "{host}", "--port", "{port}", "--log-level", "warning"]


def deployed(python: Path, file: Path, folder: Path) -> str:
    """The verdict of a run of the scenario that a file became."""
    scenario = folder / f"{file.name}.toml"
    words = ["init", str(scenario), "--from", str(file), "--health", "/health", "--no-postgres"]
    serve = " ".join(["env", f"NOTES_DB={folder / file.name}.db", *command(python)])
    if status([*words, "--old", serve]) != 0:
        return "init failed"
    out = folder / f"runs-{file.name}"
    ended = status(["run", str(scenario), "--out", str(out), *SMALL])
    found = list(out.glob("*/verdict.json"))
    if not found:
        return f"run ended with status {ended} and without a verdict"
    verdict = decode(found[0].read_bytes())
    numbers = verdict.requests
    causes = json.dumps([str(cause) for cause in verdict.causes][:3]) if numbers.failed else ""
    return f"{verdict.verdict}: {numbers.planned} requests, {numbers.failed} failed {causes}"


if __name__ == "__main__":
    sys.exit(main())
