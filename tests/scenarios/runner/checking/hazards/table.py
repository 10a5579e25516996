"""The table of hazards: for each a migration, what it does to traffic, and the safe way."""

from collections.abc import Mapping
from dataclasses import dataclass, field

BASE = """
DROP SCHEMA public CASCADE;
CREATE SCHEMA public;
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE SEQUENCE ids START 1000;
CREATE TABLE people (
    id bigint PRIMARY KEY, name varchar(50), email text NOT NULL, age integer, note text,
    feels mood DEFAULT 'glad'
);
INSERT INTO people SELECT n, 'name', n || '@example.com', n, NULL FROM generate_series(1, 300) n;
CREATE UNIQUE INDEX people_email ON people (email);
CREATE TABLE letters (id bigint PRIMARY KEY, person bigint NOT NULL, body text);
INSERT INTO letters SELECT n, n, 'body' FROM generate_series(1, 300) n;
CREATE TABLE replies (id bigint PRIMARY KEY, person bigint CONSTRAINT author REFERENCES people);
CREATE TABLE events (at integer) PARTITION BY RANGE (at);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (0) TO (100);
CREATE TABLE events_new PARTITION OF events FOR VALUES FROM (100) TO (200);
INSERT INTO events SELECT generate_series(0, 199);
"""

STATEMENTS = {
    "insert": "INSERT INTO people (id, name, email, age) VALUES (nextval('ids'), 'x', "
    "'new' || currval('ids'), 1)",
    "large": "INSERT INTO people (id, name, email, age) VALUES (nextval('ids'), 'x', "
    "'new' || currval('ids'), $1)",
    "update": "UPDATE people SET name = 'y' WHERE id = 1",
    "select": "SELECT id, name, email, age, note FROM people WHERE id = 2",
    "star": "SELECT * FROM people WHERE id = 3",
    "upsert": "INSERT INTO people (id, email) VALUES (1000, '4@example.com') "
    "ON CONFLICT (email) DO NOTHING",
    "feel": "SELECT count(*) FROM people WHERE feels = 'sad'",
    "letter": "INSERT INTO letters VALUES (nextval('ids'), 1, 'body')",
    "orphan": "INSERT INTO letters VALUES (nextval('ids'), 100000, 'body')",
    "reply": "INSERT INTO replies VALUES (nextval('ids'), 1)",
    "twin": "INSERT INTO people (id, email, note) VALUES (nextval('ids'), "
    "'new' || currval('ids'), 'same')",
    "event": "INSERT INTO events VALUES (50)",
}
"""What the old version asks for."""

USUAL = ("insert", "update", "select", "letter")
APART = "-- transactional: false\n"
"""A migration whose statements are transactions of their own, as yoyo has it."""


@dataclass(frozen=True, kw_only=True)
class Hazard:
    """A row of the table.

    Attributes:
        name: the row.
        migration: what does harm.
        finds: the hazards that a check names.
        locks: tables, and the strongest mode with which the migration locks them.
        refused: which statements of the old version are refused afterwards, and with which code.
        fails: the code with which the migration itself fails.
        asks: what the old version asks for.
        safe: the harmless twin: the migrations of the recipe, one after the other.
        safe_asks: what a version asks for that suits the recipe.
        before: what is done to the schema before both.
        least: the oldest Postgres that has it.
    """

    name: str
    migration: str
    finds: frozenset[str]
    safe: tuple[str, ...]
    locks: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    fails: str | None = None
    asks: tuple[str, ...] = USUAL
    safe_asks: tuple[str, ...] = USUAL
    before: str = ""
    least: int = 15

    def __str__(self) -> str:
        return self.name


def row(name: str, migration: str, finds: str, *safe: str, **fields: object) -> Hazard:
    rules = frozenset(finds.split())
    return Hazard(name=name, migration=migration, finds=rules, safe=safe, **fields)  # type: ignore[arg-type]


AE, SRE, SHARE = "ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE"
CHECKED = (
    "ALTER TABLE people ADD CONSTRAINT there CHECK (age IS NOT NULL) NOT VALID",
    "ALTER TABLE people VALIDATE CONSTRAINT there",
    "ALTER TABLE people ALTER COLUMN age SET NOT NULL",
    "ALTER TABLE people DROP CONSTRAINT there",
)
FILLED = """
DO $$ DECLARE done integer; BEGIN
    LOOP
        UPDATE people SET note = 'n' WHERE id IN (
            SELECT id FROM people WHERE note IS NULL LIMIT 50);
        GET DIAGNOSTICS done = ROW_COUNT;
        COMMIT;
        EXIT WHEN done = 0;
    END LOOP;
END $$"""

TABLE = (
    row(
        "a required column without a default, with rows",
        "ALTER TABLE people ADD COLUMN status text NOT NULL",
        "required-column",
        "ALTER TABLE people ADD COLUMN status text",
        fails="23502",
    ),
    row(
        "a required column without a default, on an empty table",
        "DELETE FROM replies; ALTER TABLE replies ADD COLUMN status text NOT NULL",
        "required-column",
        "ALTER TABLE replies ADD COLUMN status text",
        locks={"replies": AE},
        refused={"reply": "23502"},
        asks=("reply",),
        safe_asks=("reply",),
    ),
    row(
        "a required column with a constant default",
        "ALTER TABLE people ADD COLUMN status text NOT NULL DEFAULT 'active'",
        "silent-default",
        "ALTER TABLE people ADD COLUMN status text",
        locks={"people": AE},
    ),
    row(
        "a default that is dropped while the old version still serves",
        "ALTER TABLE people ALTER COLUMN age DROP DEFAULT",
        "not-null-too-early",
        "ALTER TABLE people ALTER COLUMN age SET DEFAULT 2",
        before="ALTER TABLE people ALTER COLUMN age SET DEFAULT 1, ALTER COLUMN age SET NOT NULL",
        locks={"people": AE},
        refused={"twin": "23502"},
        asks=("twin",),
        safe_asks=("twin",),
    ),
    row(
        "a volatile default",
        "ALTER TABLE people ADD COLUMN token uuid DEFAULT gen_random_uuid()",
        "rewriting-default",
        "ALTER TABLE people ADD COLUMN token uuid",
        "ALTER TABLE people ALTER COLUMN token SET DEFAULT gen_random_uuid()",
        locks={"people": AE},
    ),
    row(
        "a serial column",
        "ALTER TABLE people ADD COLUMN number serial",
        "rewriting-default",
        "ALTER TABLE people ADD COLUMN number integer",
        locks={"people": AE},
    ),
    row(
        "an identity column",
        "ALTER TABLE people ADD COLUMN number integer GENERATED ALWAYS AS IDENTITY",
        "rewriting-default",
        "ALTER TABLE people ADD COLUMN number integer",
        locks={"people": AE},
    ),
    row(
        "a stored column",
        "ALTER TABLE people ADD COLUMN twice bigint GENERATED ALWAYS AS (age * 2) STORED",
        "rewriting-default",
        "ALTER TABLE people ADD COLUMN twice bigint GENERATED ALWAYS AS (age * 2) VIRTUAL",
        locks={"people": AE},
        least=18,
    ),
    row(
        "a nullable column, and SELECT *",
        "ALTER TABLE people ADD COLUMN status text",
        "stale-statement",
        "ALTER TABLE people ADD COLUMN status text",
        locks={"people": AE},
        refused={"star": "0A000"},
        asks=("star",),
    ),
    row(
        "SET NOT NULL",
        "ALTER TABLE people ALTER COLUMN age SET NOT NULL",
        "set-not-null not-null-too-early",
        *CHECKED,
        locks={"people": AE},
        refused={"twin": "23502"},
        asks=("insert", "twin"),
    ),
    row(
        "a CHECK that is NOT VALID, before the backfill",
        "ALTER TABLE people ADD CONSTRAINT noted CHECK (note IS NOT NULL) NOT VALID",
        "constraint-before-backfill constraint-too-early",
        APART + FILLED,
        "ALTER TABLE people ADD CONSTRAINT noted CHECK (note IS NOT NULL) NOT VALID",
        locks={"people": AE},
        refused={"update": "23514", "insert": "23514"},
        safe_asks=("update", "select"),
    ),
    row(
        "a valid CHECK",
        "ALTER TABLE people ADD CONSTRAINT grown CHECK (age > 0)",
        "validating-check",
        "ALTER TABLE people ADD CONSTRAINT grown CHECK (age > 0) NOT VALID",
        "ALTER TABLE people VALIDATE CONSTRAINT grown",
        locks={"people": AE},
    ),
    row(
        "a valid foreign key",
        "ALTER TABLE letters ADD CONSTRAINT writer FOREIGN KEY (person) REFERENCES people",
        "validating-foreign-key constraint-too-early",
        "ALTER TABLE letters ADD CONSTRAINT writer FOREIGN KEY (person) REFERENCES people "
        "NOT VALID",
        "ALTER TABLE letters VALIDATE CONSTRAINT writer",
        locks={"people": SRE, "letters": SRE},
        refused={"orphan": "23503"},
        asks=(*USUAL, "orphan"),
    ),
    row(
        "CREATE TABLE … REFERENCES a live table",
        "SET LOCAL lock_timeout = 0; CREATE TABLE notes (person bigint REFERENCES people)",
        "reference-to-live-table",
        "CREATE TABLE notes (person bigint REFERENCES people)",
        locks={"people": SRE},
    ),
    row(
        "DROP TABLE",
        "DROP TABLE replies",
        "dropped-table locked-parent",
        "ALTER TABLE replies DROP COLUMN person",
        locks={"people": AE, "replies": AE},
        refused={"reply": "42P01"},
        asks=("reply",),
        before="CREATE TABLE unused (id int)",
    ),
    row(
        "DROP of a foreign key",
        "ALTER TABLE replies DROP CONSTRAINT author",
        "locked-parent",
        "DROP TABLE unused",
        locks={"people": AE, "replies": AE},
        before="CREATE TABLE unused (id int)",
    ),
    row(
        "a UNIQUE constraint",
        "ALTER TABLE people ADD CONSTRAINT one_note UNIQUE (note)",
        "unique-constraint constraint-too-early",
        APART + "CREATE UNIQUE INDEX CONCURRENTLY one_note ON people (note)",
        "ALTER TABLE people ADD CONSTRAINT one_note UNIQUE USING INDEX one_note",
        locks={"people": AE},
        refused={"twin": "23505"},
        asks=("insert", "twin", "twin"),
    ),
    row(
        "CREATE INDEX",
        "CREATE INDEX by_age ON people (age)",
        "index-blocks-writes",
        APART + "CREATE INDEX CONCURRENTLY by_age ON people (age)",
        locks={"people": SHARE},
    ),
    row(
        "a concurrent index that fails",
        APART + "CREATE UNIQUE INDEX CONCURRENTLY by_name ON people (name)",
        "invalid-index constraint-too-early",
        APART + "CREATE INDEX CONCURRENTLY by_name ON people (name)",
        fails="23505",
    ),
    row(
        "DROP COLUMN",
        "ALTER TABLE people DROP COLUMN age",
        "dropped-column",
        "ALTER TABLE people DROP COLUMN feels",
        locks={"people": AE},
        refused={"insert": "42703", "select": "42703"},
    ),
    row(
        "RENAME of a column",
        "ALTER TABLE people RENAME COLUMN age TO years",
        "renamed",
        "ALTER TABLE people ADD COLUMN years integer",
        locks={"people": AE},
        refused={"insert": "42703", "select": "42703"},
    ),
    row(
        "RENAME of a table",
        "ALTER TABLE people RENAME TO persons",
        "renamed",
        "ALTER TABLE people ADD COLUMN years integer",
        locks={"people": AE},
        refused={"insert": "42P01", "update": "42P01", "select": "42P01"},
    ),
    row(
        "a view in place of a renamed table",
        "ALTER TABLE people RENAME TO persons; CREATE VIEW people AS SELECT * FROM persons",
        "view-in-place",
        "CREATE VIEW persons AS SELECT * FROM people",
        locks={"people": AE},
    ),
    row(
        "a type that needs a rewrite",
        "ALTER TABLE people ALTER COLUMN age TYPE bigint",
        "rewriting-type stale-statement",
        "ALTER TABLE people ADD COLUMN age_new bigint",
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.age_new := NEW.age; RETURN NEW; END $$; "
        "CREATE TRIGGER keep BEFORE INSERT OR UPDATE ON people "
        "FOR EACH ROW EXECUTE FUNCTION keep()",
        locks={"people": AE},
        refused={"select": "0A000"},
    ),
    row(
        "a shorter type",
        "ALTER TABLE people ALTER COLUMN name TYPE varchar(40)",
        "rewriting-type stale-statement",
        "ALTER TABLE people ALTER COLUMN name TYPE varchar(60)",
        locks={"people": AE},
        refused={"select": "0A000"},
        safe_asks=("insert", "update"),
    ),
    row(
        "a longer type",
        "ALTER TABLE people ALTER COLUMN name TYPE varchar(60)",
        "stale-statement",
        "ALTER TABLE people ALTER COLUMN note TYPE varchar",
        locks={"people": AE},
        refused={"select": "0A000"},
        safe_asks=("insert", "update", "upsert"),
    ),
    row(
        "an integer that becomes text, and a driver that knows the old type",
        "ALTER TABLE people ALTER COLUMN age TYPE text",
        "rewriting-type type-in-use",
        "ALTER TABLE people ALTER COLUMN name TYPE text",
        locks={"people": AE},
        refused={"large": "22000"},
        asks=("large",),
        safe_asks=("large",),
    ),
    row(
        "an enum value that is used in the same transaction",
        "ALTER TYPE mood ADD VALUE 'calm'; UPDATE people SET feels = 'calm' WHERE id = 1",
        "enum-value-too-early",
        "ALTER TYPE mood ADD VALUE 'calm'",
        fails="55P04",
        asks=("feel",),
        safe_asks=("feel",),
    ),
    row(
        "an enum value that is renamed",
        "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",
        "renamed-enum-value",
        "ALTER TYPE mood ADD VALUE 'blue'",
        refused={"feel": "22P02"},
        asks=("feel",),
        safe_asks=("feel",),
    ),
    row(
        "a unique index that ON CONFLICT names",
        "DROP INDEX people_email",
        "dropped-unique-index index-dropped-under-lock",
        APART + "CREATE UNIQUE INDEX CONCURRENTLY people_mail ON people (email)",
        APART + "DROP INDEX CONCURRENTLY people_email",
        locks={"people": AE},
        refused={"upsert": "42P10"},
        asks=(*USUAL, "upsert"),
        safe_asks=(*USUAL, "upsert"),
    ),
    row(
        "VACUUM FULL",
        APART + "VACUUM FULL people",
        "written-anew",
        APART + "VACUUM people",
    ),
    row(
        "CLUSTER",
        "CLUSTER people USING people_email",
        "written-anew",
        APART + "VACUUM people",
    ),
    row(
        "REINDEX",
        "REINDEX INDEX people_email",
        "written-anew",
        APART + "REINDEX INDEX CONCURRENTLY people_email",
        locks={"people": SHARE},
    ),
    row(
        "several tables in one transaction",
        "ALTER TABLE people ADD COLUMN a integer; ALTER TABLE letters ADD COLUMN a integer",
        "several-tables",
        "ALTER TABLE people ADD COLUMN a integer",
        "ALTER TABLE letters ADD COLUMN a integer",
        locks={"people": AE, "letters": AE},
        asks=("select",),
    ),
    row(
        "a migration without lock_timeout",
        "SET LOCAL lock_timeout = 0; ALTER TABLE people ADD COLUMN a integer",
        "no-lock-timeout",
        "ALTER TABLE people ADD COLUMN a integer",
        locks={"people": AE},
    ),
    row(
        "all rows and NOT NULL in one transaction",
        "UPDATE people SET note = 'n'; ALTER TABLE people ALTER COLUMN note SET NOT NULL",
        "unbatched-change set-not-null not-null-too-early",
        APART + FILLED,
        locks={"people": AE},
        refused={"insert": "23502"},
        safe_asks=("update", "select"),
    ),
    row(
        "all rows are changed after a lock was taken",
        "ALTER TABLE people ADD COLUMN status text; UPDATE people SET status = 'active'",
        "unbatched-change work-under-lock",
        "ALTER TABLE people ADD COLUMN status text",
        locks={"people": AE},
    ),
    row(
        "a virtual column that overflows",
        "ALTER TABLE people ADD COLUMN cube integer GENERATED ALWAYS AS (age * 10000000) VIRTUAL",
        "unreadable-rows stale-statement",
        "ALTER TABLE people ADD COLUMN cube bigint GENERATED ALWAYS AS (age * 10000000::bigint) "
        "VIRTUAL",
        locks={"people": AE},
        refused={"star": "22003"},
        asks=("insert", "star"),
        before="UPDATE people SET age = 300 WHERE id = 3",
        least=18,
    ),
    row(
        "NOT NULL NOT VALID, before the backfill",
        "ALTER TABLE people ADD CONSTRAINT noted NOT NULL note NOT VALID",
        "constraint-before-backfill not-null-too-early",
        APART + FILLED,
        "ALTER TABLE people ADD CONSTRAINT noted NOT NULL note NOT VALID",
        locks={"people": AE},
        refused={"update": "23502", "insert": "23502"},
        safe_asks=("update", "select"),
        least=18,
    ),
)
