"""What reading a run in columns costs with our own code, with DuckDB and with Polars.

    pip install duckdb polars
    python -m benchmarks.columns [--requests 500000]

Each reads the same two files (requests and the balancer's log), counts the requests by what they
have in common with the 99th percentile of their latency, and joins both files. Neither library is
installed with hitless; one that is missing is left out.
"""

import argparse
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.long_run import LongRun
from scenarios.evidence.run_folder import RunFolder

OURS = """
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.scratch import FileScratch
from scenarios.verdict.columns.requests import RequestColumns
from scenarios.verdict.measures.durations import Durations
from scenarios.verdict.measures.exchanges import Exchanges
run, scratch = RunFolder(Path(sys.argv[1])), FileScratch()
columns = RequestColumns(scratch, lambda replica: None)
latencies = Durations(scratch)
for batch in columns.reading(run.requests.read()):
    latencies.add(batch.taken)
exchanges = Exchanges("s1-", set(), scratch)
exchanges.read(run.exchanges.read())
groups = len(columns.kinds)
p99 = Durations.percentiles([latencies], (0.99,))[0]
unmatched = exchanges.contradictions(columns)
"""
DUCKDB = """
import duckdb
base = duckdb.connect()
base.execute("set preserve_insertion_order = false")
text = ("request_id journey endpoint connection error mismatch served_by subject cause_id user")
whole = ("planned_ns done_ns sent_ns first_byte_ns status")
kinds = {**dict.fromkeys(text.split(), "VARCHAR"), **dict.fromkeys(whole.split(), "BIGINT")}
kinds |= {"expected": "BIGINT[]", "paced": "BOOLEAN"}
logged = {"request_id": "VARCHAR", "status": "BIGINT", "end": "VARCHAR", "wait_ns": "BIGINT"}
read = "read_json(?, format = 'newline_delimited', columns = {})"
for table, name, wanted in (("r", "requests", kinds), ("b", "balancer", logged)):
    path = str(Path(sys.argv[1], name + ".ndjson"))
    base.execute(f"create table {table} as select * from {read.format(wanted)}", [path])
grouped = base.execute(
    "select count(*) from (select endpoint, journey, connection, status, served_by, error, count(*)"
    " from r group by all)"
).fetchone()
groups = grouped[0]
p99 = base.execute("select quantile_disc(done_ns - planned_ns, 0.99) from r").fetchone()[0]
unmatched = base.execute(
    "select count(*) from b anti join r on b.request_id = r.request_id and b.status = r.status"
    " where b.end = 'complete'"
).fetchone()[0]
"""
POLARS = """
import polars
text = ("request_id journey endpoint connection error mismatch served_by subject cause_id user")
whole = ("planned_ns done_ns sent_ns first_byte_ns status")
kinds = {**dict.fromkeys(text.split(), polars.String), **dict.fromkeys(whole.split(), polars.Int64)}
logged = {"request_id": polars.String, "status": polars.Int64, "end": polars.String}
r = polars.read_ndjson(Path(sys.argv[1], "requests.ndjson"), schema=kinds)
b = polars.read_ndjson(Path(sys.argv[1], "balancer.ndjson"), schema=logged)
shared = ["endpoint", "journey", "connection", "status", "served_by", "error"]
groups = r.group_by(shared).len().height
p99 = int((r["done_ns"] - r["planned_ns"]).quantile(0.99, interpolation="higher"))
complete = b.filter(polars.col("end") == "complete")
unmatched = complete.join(r, on=["request_id", "status"], how="anti").height
"""
SHELL = """
import json, resource, sys, time
from pathlib import Path
began = time.monotonic()
{code}
seconds = time.monotonic() - began
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000, groups, p99,
                  unmatched]))
"""


def installed_mb(name: str) -> float | None:
    """The size of a package's files; None if it is not installed."""
    try:
        files = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    places = [Path(str(one.locate())) for one in files]
    found = sum(place.stat().st_size for place in places if place.is_file()) / 1e6
    if name == "polars":  # its code is in a package of its own
        found += installed_mb("polars-runtime-32") or 0.0
    return found


def main() -> None:
    """Print a row for each of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--requests", type=int, default=500_000)
    asked = parser.parse_args()
    print("| Reader | Time | Processor time | Memory | Installed | Groups, p99 in ns, unmatched |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        LongRun(asked.requests, asked.requests // 25).write(folder)
        if not RunFolder(folder).requests.exists:
            sys.exit("the folder was not written")
        for reader, code, package in (
            ("ours (msgspec)", OURS, "msgspec"),
            ("DuckDB", DUCKDB, "duckdb"),
            ("Polars", POLARS, "polars"),
        ):
            size = installed_mb(package)
            if size is None:
                print(f"| {reader} | not installed |")
                continue
            done = subprocess.run(
                [sys.executable, "-c", SHELL.replace("{code}", code), str(folder)],
                stdout=subprocess.PIPE,
                check=True,
            )
            seconds, cpu, memory, *found = json.loads(done.stdout)
            print(
                f"| {reader} | {seconds:.2f} s | {cpu:.2f} s | {memory:.0f} MB | {size:.0f} MB | "
                f"{', '.join(map(str, found))} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
