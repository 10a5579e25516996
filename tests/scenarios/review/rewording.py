"""A program: judges planted runs, and prints what came of them but for its sentences.

With `--reword` each text of the verdict's own modules that has a space in it is reworded first, in
each module differently. Whatever compares, searches or takes apart a sentence then comes to another
result.
"""

import ast
import importlib.abc
import importlib.machinery
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

REWORDED = ("scenarios.verdict", "scenarios.review", "scenarios.cli.questions")


class Rewording(ast.NodeTransformer):
    """Rewords the texts of one module, but for annotations and patterns."""

    def __init__(self, module: str) -> None:
        self.salt = f"{module.rpartition('.')[2].swapcase()} says so: "
        self.count = 0

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        text = node.value
        if isinstance(text, str) and " " in text and any(map(str.isalpha, text)):
            self.count += 1
            return ast.copy_location(ast.Constant(f"{self.salt}{text.swapcase()}"), node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.body = [self.visit(part) for part in node.body]
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Attribute) and node.func.attr == "compile":
            return node
        return self.generic_visit(node)


class Loader(importlib.machinery.SourceFileLoader):
    """Loads a module with its texts reworded."""

    total = 0

    def get_code(self, fullname: str) -> Any:
        rewording = Rewording(fullname)
        tree = ast.parse(self.get_data(self.path), self.path)
        tree = ast.fix_missing_locations(rewording.visit(tree))
        Loader.total += rewording.count
        return compile(tree, self.path, "exec")


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules whose texts are to be reworded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(REWORDED):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = Loader(fullname, spec.origin)
        return spec


def shape(experiment: Any) -> list[Any]:
    """What a counterfactual runs."""
    scenario = experiment.scenario
    database = scenario.database
    return [
        scenario.name,
        experiment.strategy,
        len(scenario.faults),
        scenario.policy.drain_timeout_seconds,
        database and database.lock_timeout_seconds,
    ]


def told(name: str, run: Any, further: dict[str, Any]) -> list[Any]:
    """What came of a run, and what would be run to test it."""
    from scenarios.cli.questions.counterfactual import counterfactual  # noqa: PLC0415 - after the finder
    from scenarios.review import explain, review, write_reports  # noqa: PLC0415 - the same
    from scenarios.scenario.overrides import Changes  # noqa: PLC0415 - the same

    with tempfile.TemporaryDirectory() as folder:
        path = run.write(Path(folder) / "run", **further)
        judgement = review(path)
        write_reports(path, judgement)
        verdict = judgement.verdict
        causes = [*verdict.causes, *verdict.slow_causes]
        ids = [cause.evidence.requests[0] for cause in causes]
        stories = [explain(path, one) for one in ids]
    changes = Changes(faults=("kill@0.2",) if "fault" in name else ())
    again = None
    for strategy in ("rolling", "naive"):
        experiment = changes.experiment("big-bang", strategy, 1)
        found = counterfactual(
            experiment,
            verdict,
            lambda other, strategy=strategy: changes.experiment(other, strategy, 1),  # type: ignore[misc]
        )
        again = [again, found and [found.cause, shape(found.experiment)]]
    return [
        name,
        [verdict.verdict, verdict.exit_status, verdict.unattributed],
        [[one.check, one.held] for one in verdict.checks],
        [len(verdict.reasons), len(verdict.doubts), len(verdict.limits)],
        [
            [one.cause, one.kind, one.confidence, one.count, dict(one.evidence.faults)]
            for one in causes
        ],
        [[one.checked, one.violations] for one in verdict.integrity.invariants],
        [verdict.locks.requests, len(verdict.locks.blockers), len(verdict.downtime)],
        [[one.cause, [moment.source for moment in one.moments]] for one in stories],
        again,
    ]


def main() -> None:
    """Judge, and print."""
    if "--reword" in sys.argv:
        sys.meta_path.insert(0, Finder())
    from scenarios.evidence.locks import DatabaseSession, LockWait  # noqa: PLC0415 - after the finder
    from scenarios.evidence.read import Read  # noqa: PLC0415 - the same
    from tests.support import evidence as make  # noqa: PLC0415 - the same

    clean = make.clean()
    wait = LockWait(
        at_ns=make.at(2.2),
        end_ns=make.at(4.2),
        gone_ns=make.at(4.21),
        waiter=DatabaseSession(pid=1, application="app a-1"),
        mode="RowExclusiveLock",
        kind="relation",
        relation="subscriptions",
        chain=(DatabaseSession(pid=2, application="hitless-migrator", query="ALTER TABLE"),),
    )
    fault = [
        make.event(2.3, "fault", "started", 40, replicas=("a-1",), detail={"name": "kill"}),
        make.event(2.31, "fault", "completed", 40, replicas=("a-1",), detail={"name": "kill"}),
        make.event(2.32, "replica", "noted", 41, replicas=("a-1",), error="was killed"),
    ]
    lost = {"status": None, "error": "eof", "served_by": "a-1"}
    no_backend = {
        "status": 503,
        "proxy_status": "hitless; error=destination_unavailable",
        "served_by": None,
    }
    slow = clean.failing(2.3, 2.5, done_ns=make.at(4.1), first_byte_ns=make.at(4.09))
    mixed = clean.failing(3.3, 3.6, endpoint=make.CONFIRM, served_by="b-2")
    mixed = mixed.failing(2.9, 3.1, endpoint=make.CONFIRM, served_by="a-1", status=404)
    runs: dict[str, tuple[Any, dict[str, Any]]] = {
        "clean": (clean, {"lock_waits": []}),
        "refused": (clean.failing(2.4, 3.1, status=500, sqlstate="23502"), {}),
        "no backend": (clean.failing(3.2, 3.5, **no_backend), {}),
        "mixed fleet": (mixed, {}),
        "lock": (slow, {"lock_waits": [wait]}),
        "fault": (clean.failing(2.35, 2.5, **lost).but(events=[*clean.events, *fault]), {}),
        "ports": (clean.failing(2.5, 2.6, **{**lost, "error": "undispatched"}, errno=99), {}),
        "lost row": (clean.but(after=list(clean.after)[3:]), {}),
        "rolled back": (clean.asked(outcome="rolled_back", outcome_reason="a gate"), {}),
        "unlike reads": (
            clean,
            {"reads": [Read(path="/", key="k", replica=f"b-{n}", status=200 + n) for n in (1, 2)]},
        ),
    }
    for name, (run, further) in runs.items():
        print(json.dumps(told(name, run, further)))  # noqa: T201 - it is a program
    print(Loader.total, file=sys.stderr)  # noqa: T201 - the same


if __name__ == "__main__":
    main()
