"""What a linter says of the migrations, held to what the trials observed.

A linter knows only the text. Whether a table is new, how large it is, and whether a version still
uses a column, it cannot know. So each finding is confirmed, refuted, or left open.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec

from scenarios.check.change_effects import ChangeEffects
from scenarios.check.lock_result import HeldLock, strength
from scenarios.check.observed import Observed, SchemaKey

Judged: TypeAlias = Literal["confirmed", "refuted", "open"]

BREAKS_CLIENTS = frozenset(
    {
        "adding-not-nullable-field",
        "adding-required-field",
        "ban-drop-column",
        "ban-drop-table",
        "ban-drop-not-null",
        "changing-column-type",
        "renaming-column",
        "renaming-table",
    }
)
"""Rules about versions that use the schema of before."""

REWRITES = frozenset({"adding-field-with-default"})
"""Rules about statements that write a whole table anew."""

BLOCKS_WRITES = frozenset(
    {
        "adding-foreign-key-constraint",
        "adding-not-nullable-field",
        "adding-serial-primary-key-field",
        "constraint-missing-not-valid",
        "disallowed-unique-constraint",
        "require-concurrent-index-creation",
        "require-concurrent-index-deletion",
    }
)
"""Rules about locks that hold up requests."""

_SHARE = 1
_ACCESS_EXCLUSIVE = 4


_TABLE = re.compile(
    r"""(?:\b(?:alter|drop)\s+table(?:\s+if\s+exists)?(?:\s+only)?|\bon(?:\s+only)?)\s+([\w."]+)""",
    re.IGNORECASE,
)


def table_of(sql: str, line: int) -> str | None:
    """The table that the statement with this line is about, without its schema.

    Args:
        sql: the file.
        line: a line of the statement, from 1 on.
    """
    lines = sql.splitlines()
    before = "\n".join(lines[: line - 1])
    # A comment may hold a semicolon; the statement is then read from there, which does no harm.
    begun = before[before.rfind(";") + 1 :]
    rest = "\n".join(lines[line - 1 :]).partition(";")[0]
    text = re.sub(r"--[^\n]*", "", f"{begun}\n{rest}")
    match = _TABLE.search(text)
    return match[1].rpartition(".")[2].strip('"') if match else None


class LintFinding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A finding of the linter.

    Attributes:
        rule: the name of the rule, as the linter has it.
        change: the migration.
        file: its file.
        line: the line in it, from 1 on.
        message: what the linter says.
        table: the table that the statement is about; absent if that could not be read.
        judged: whether the trials confirmed or refuted it; `open`: they cannot tell.
        why: what was observed.
    """

    rule: str
    change: str
    file: str
    line: int
    message: str
    table: str | None = None
    judged: Judged = "open"
    why: str = ""


def held_to(
    findings: Iterable[LintFinding], observed: Observed, order: Mapping[str, SchemaKey]
) -> tuple[LintFinding, ...]:
    """The findings that trials can judge, each with what was observed.

    Rules about the style of a migration are left out.

    Args:
        findings: what the linter says.
        observed: what the trials saw.
        order: the schema before each change.
    """
    judged = []
    for one in findings:
        about = [
            found
            for rules, judge in (
                (BREAKS_CLIENTS, _breaks_clients),
                (REWRITES, _rewrites),
                (BLOCKS_WRITES, _blocks_writes),
            )
            if one.rule in rules and (found := judge(one, observed, order)) is not None
        ]
        if one.rule not in BREAKS_CLIENTS | REWRITES | BLOCKS_WRITES:
            continue
        verdict: Judged = "open"
        if about:
            verdict = "confirmed" if any(true for true, _ in about) else "refuted"
        # What confirms it is said first.
        why = "; ".join(words for _, words in sorted(about, key=lambda found: not found[0]))
        judged.append(msgspec.structs.replace(one, judged=verdict, why=why))
    return tuple(judged)


def _breaks_clients(
    finding: LintFinding, observed: Observed, order: Mapping[str, SchemaKey]
) -> tuple[bool, str] | None:
    """Whether a version that worked before the change fails after it."""
    before = order.get(finding.change)
    if before is None:
        return None
    after = (*before, finding.change)
    good = (cell for cell in observed.cells if cell.schema == before and cell.ok)
    versions = sorted({cell.version for cell in good})
    tried = [(version, observed.cell(after, version)) for version in versions]
    known = [(version, cell) for version, cell in tried if cell is not None]
    for version, cell in known:
        if not cell.ok:
            failed = next((one for one in cell.endpoints if not one.ok), None)
            why = cell.not_ready or (failed and f"{failed.endpoint}: {failed.cause}") or ""
            return True, f"{version} fails afterwards: {why}"
    if not known:
        return None
    return False, f"{' and '.join(version for version, _ in known)} works afterwards"


def _rewrites(
    finding: LintFinding, observed: Observed, order: Mapping[str, SchemaKey]
) -> tuple[bool, str] | None:
    del order
    locks = _locks_of(finding, observed)
    if locks is None:
        return None
    rewritten = [one.table for one in locks if one.rewrites]
    if rewritten:
        return True, f"it rewrites {', '.join(rewritten)}"
    return False, "it rewrites no table that was there before"


def _blocks_writes(
    finding: LintFinding, observed: Observed, order: Mapping[str, SchemaKey]
) -> tuple[bool, str] | None:
    del order
    locks = _locks_of(finding, observed)
    if locks is None:
        return None
    held = [one for one in locks if strength(one.mode) >= _SHARE]
    if not held:
        return False, "it holds no lock that blocks on a table that was there before"
    worst = max(held, key=_harm)
    if not worst.seconds:
        return True, f"{worst.mode} on {worst.table}"
    rows, seconds = worst.seconds[-1]
    return True, f"{worst.mode} on {worst.table} for {seconds * 1000:.0f} ms with {rows:,} rows"


def _harm(lock: HeldLock) -> tuple[bool, float]:
    longest = lock.seconds[-1][1] if lock.seconds else 0.0
    return strength(lock.mode) == _ACCESS_EXCLUSIVE, longest


def _locks_of(finding: LintFinding, observed: Observed) -> list[HeldLock] | None:
    """The locks of the change; None if they were not observed."""
    if observed.locks:
        of_change = [one for one in observed.locks if one.change == finding.change]
    else:
        effects = next((one for one in observed.effects if one.change == finding.change), None)
        if effects is None:
            return None
        of_change = list(_locks_in(effects))
    if finding.table is None:
        return of_change
    return [one for one in of_change if one.table.rpartition(".")[2] == finding.table]


def _locks_in(effects: ChangeEffects) -> Iterator[HeldLock]:
    """The locks that were recorded, without their times."""
    for one in effects.statements:
        for table, mode in one.locks:
            yield HeldLock(
                change=effects.change,
                table=table,
                mode=mode,
                statement=" ".join(one.text.split()),
                seconds=(),
                rewrites=one.rewrites == table,
            )
