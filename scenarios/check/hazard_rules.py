"""The hazards of migrations under live traffic, each with its safe recipe.

Locks and errors of each were measured on Postgres 15 and 18. The tests have a migration for each of
them, and a harmless twin (`tests/scenarios/runner/checking/hazards`). The recipes are those of the
PostgreSQL documentation (ALTER TABLE, Notes; CREATE INDEX, Building Indexes Concurrently) and of
the tools squawk, strong_migrations and pgroll.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

Level: TypeAlias = Literal["error", "warning", "note"]
"""As SARIF has it: something fails, something may wait or fail later, something to know."""


class HazardRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A hazard.

    Attributes:
        name: its name.
        title: what happens, in a sentence.
        recipe: how the same is done safely.
        level: how bad it is if it was observed.
        squawk: the rules of squawk about the same.
    """

    name: str
    title: str
    recipe: str
    level: Level = "warning"
    squawk: tuple[str, ...] = ()


_ALL = (
    HazardRule(
        name="required-column",
        title="A new column is required, and the old version does not write it.",
        recipe="add the column as nullable, deploy the version that writes it, fill the old rows "
        "in batches, and only then require it",
        level="error",
        squawk=("adding-required-field",),
    ),
    HazardRule(
        name="silent-default",
        title="Rows that the old version writes silently get the default.",
        recipe="drop the default only after the old version is gone, and look whether its rows "
        "mean what the default says",
        level="note",
    ),
    HazardRule(
        name="rewriting-default",
        title="The default is computed for each row, so the table is written anew.",
        recipe="add the column as nullable, set the default in a second statement, and fill the "
        "old rows in batches",
        squawk=("adding-field-with-default", "adding-serial-primary-key-field"),
    ),
    HazardRule(
        name="stale-statement",
        title="Statements that were prepared before the change are refused (0A000).",
        recipe="name the columns instead of SELECT *, and expire the pool's connections after the "
        "change",
        level="warning",
    ),
    HazardRule(
        name="set-not-null",
        title="The table is read under ACCESS EXCLUSIVE to see that no row is NULL.",
        recipe="fill the old rows, add CHECK (… IS NOT NULL) NOT VALID, validate it in a "
        "transaction of its own, SET NOT NULL, and drop the check",
        squawk=("adding-not-nullable-field",),
    ),
    HazardRule(
        name="not-null-too-early",
        title="The old version still writes NULL.",
        recipe="deploy a version that writes the column first, and require it when the old one is "
        "gone",
        level="error",
        squawk=("adding-not-nullable-field",),
    ),
    HazardRule(
        name="constraint-before-backfill",
        title="Old rows break a constraint that was added NOT VALID, so every update of them "
        "fails.",
        recipe="correct the old rows in batches before the constraint is added",
        level="error",
    ),
    HazardRule(
        name="constraint-too-early",
        title="The old version writes what the new constraint refuses.",
        recipe="deploy a version that keeps to the constraint first, and add it when the old one "
        "is gone",
        level="error",
    ),
    HazardRule(
        name="validating-check",
        title="All rows are checked under a lock that holds up every request.",
        recipe="add the CHECK as NOT VALID, and VALIDATE CONSTRAINT in a transaction of its own",
        squawk=("constraint-missing-not-valid",),
    ),
    HazardRule(
        name="validating-foreign-key",
        title="All rows are checked under locks that hold up the writes of both tables.",
        recipe="add the foreign key as NOT VALID, and VALIDATE CONSTRAINT in a transaction of its "
        "own",
        squawk=("adding-foreign-key-constraint", "constraint-missing-not-valid"),
    ),
    HazardRule(
        name="reference-to-live-table",
        title="CREATE TABLE … REFERENCES locks the other table against writes until the commit.",
        recipe="create the table in a short transaction of its own with a lock_timeout",
    ),
    HazardRule(
        name="dropped-table",
        title="A version still uses the table.",
        recipe="deploy a version that does not use the table, and drop it when the old one is gone",
        level="error",
        squawk=("ban-drop-table",),
    ),
    HazardRule(
        name="locked-parent",
        title="Dropping this also takes ACCESS EXCLUSIVE on the table that it refers to.",
        recipe="drop one foreign key in a transaction of its own with a lock_timeout, and the "
        "table after it",
        squawk=("ban-drop-table",),
    ),
    HazardRule(
        name="unique-constraint",
        title="An index is built under ACCESS EXCLUSIVE.",
        recipe="CREATE UNIQUE INDEX CONCURRENTLY, and then ADD CONSTRAINT … UNIQUE USING INDEX",
        squawk=("disallowed-unique-constraint",),
    ),
    HazardRule(
        name="index-blocks-writes",
        title="An index is built under SHARE: writes wait until it is ready.",
        recipe="CREATE INDEX CONCURRENTLY, outside of a transaction",
        squawk=("require-concurrent-index-creation",),
    ),
    HazardRule(
        name="invalid-index",
        title="An invalid index was left behind: it is written, and no query uses it.",
        recipe="DROP INDEX CONCURRENTLY it, and look at pg_index.indisvalid after each concurrent "
        "build",
        level="error",
    ),
    HazardRule(
        name="dropped-column",
        title="A version still uses the column.",
        recipe="deploy a version that does not use the column, and drop it when the old one is "
        "gone",
        level="error",
        squawk=("ban-drop-column",),
    ),
    HazardRule(
        name="renamed",
        title="A version still uses the old name.",
        recipe="column: add the new one, write both, move the readers, drop the old one; table: "
        "rename it and create a view with the old name in one transaction",
        level="error",
        squawk=("renaming-column", "renaming-table"),
    ),
    HazardRule(
        name="rewriting-type",
        title="The table is written anew under ACCESS EXCLUSIVE.",
        recipe="add a column of the new type, keep it equal by a trigger, fill it in batches, and "
        "swap the names in one short transaction",
        squawk=("changing-column-type",),
    ),
    HazardRule(
        name="type-in-use",
        title="A version cannot use the new type.",
        recipe="add a column of the new type, and deploy a version that uses it before the old one "
        "is dropped",
        level="error",
        squawk=("changing-column-type",),
    ),
    HazardRule(
        name="enum-value-too-early",
        title="A new enum value is used in the transaction that adds it (55P04).",
        recipe="add the value in a migration of its own",
        level="error",
    ),
    HazardRule(
        name="renamed-enum-value",
        title="A version still uses the old name of the enum value (22P02).",
        recipe="never rename one: add the new value, and let both be read",
        level="error",
        squawk=("renaming-object",),
    ),
    HazardRule(
        name="dropped-unique-index",
        title="A version names the index in ON CONFLICT (42P10).",
        recipe="build the new index first, and drop the old one when no version names it",
        level="error",
        squawk=("require-concurrent-index-deletion",),
    ),
    HazardRule(
        name="index-dropped-under-lock",
        title="DROP INDEX takes ACCESS EXCLUSIVE on the table.",
        recipe="DROP INDEX CONCURRENTLY, outside of a transaction",
        squawk=("require-concurrent-index-deletion",),
    ),
    HazardRule(
        name="written-anew",
        title="VACUUM FULL, CLUSTER or REINDEX holds up every request until it is done.",
        recipe="REINDEX CONCURRENTLY; for a table, a tool such as pg_repack or pg_squeeze",
        squawk=("prefer-repack", "require-concurrent-reindex"),
    ),
    HazardRule(
        name="several-tables",
        title="One transaction locks several tables one after the other: requests that use them "
        "in another order deadlock with it (40P01).",
        recipe="one table in each transaction",
    ),
    HazardRule(
        name="no-lock-timeout",
        title="Without lock_timeout, a waiting migration makes every later query wait behind it.",
        recipe="set lock_timeout, and try again after a pause",
        squawk=("require-lock-timeout-setting",),
    ),
    HazardRule(
        name="retries-without-pause",
        title="The migration tries again for its lock at once, so requests wait nearly all the "
        "time.",
        recipe="wait between two tries for several times the lock_timeout",
    ),
    HazardRule(
        name="work-under-lock",
        title="The transaction works through a table while it holds a lock.",
        recipe="change rows in a migration of their own, in batches",
    ),
    HazardRule(
        name="unbatched-change",
        title="One transaction changes most rows of a table: each stays locked until the commit.",
        recipe="change the rows in batches, each in a transaction of its own",
    ),
    HazardRule(
        name="unreadable-rows",
        title="The expression of a virtual column fails for rows that are there, so reads of them "
        "fail.",
        recipe="use a wider type, or a STORED column, which refuses the migration instead",
        level="error",
    ),
    HazardRule(
        name="view-in-place",
        title="A view has the name of the table: it is no table for everything.",
        recipe="keep the view only until the versions that use the old name are gone; COPY, "
        "TRUNCATE, ON CONSTRAINT and the next ALTER need the table's new name",
        level="note",
        squawk=("renaming-table",),
    ),
    HazardRule(
        name="pending-detach",
        title="A partition is half detached: its rows are gone from the parent, and no other one "
        "can be detached concurrently (55000).",
        recipe="ALTER TABLE … DETACH PARTITION … FINALIZE",
        level="error",
    ),
    HazardRule(
        name="failing-migration",
        title="The migration fails on a database with rows.",
        recipe="try it on a copy with rows like yours; correct the rows in batches before it",
        level="error",
    ),
    HazardRule(
        name="breaks-version",
        title="A version that worked before the change fails after it.",
        recipe="change the schema so that both versions work on it, and take the rest away later",
        level="error",
    ),
)

RULES: Mapping[str, HazardRule] = {rule.name: rule for rule in _ALL}
"""All hazards, by name."""
