# ruff: noqa: S608 - the names come from the catalog, quoted by Postgres, or stand here
"""What a database holds, as digests: whether a migration has changed anything.

Postgres computes the digests, so that rows do not travel. The sum of the hashes of all rows does
not depend on their order.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.database import connected

HISTORY = re.compile(r"migrat|version|yoyo|knex|changelog|schema_|history|lock", re.IGNORECASE)
"""The names of the tables in which migration tools keep what they have done."""

_CATALOGS = (
    *(
        "pg_attribute",
        "pg_attrdef",
        "pg_constraint",
        "pg_index",
        "pg_inherits",
        "pg_partitioned_table",
    ),
    *("pg_type", "pg_enum", "pg_range", "pg_sequence", "pg_namespace", "pg_extension", "pg_proc"),
    *("pg_aggregate", "pg_cast", "pg_operator", "pg_opclass", "pg_language", "pg_rewrite"),
    *("pg_trigger", "pg_event_trigger", "pg_policy", "pg_description", "pg_default_acl"),
    *("pg_statistic_ext", "pg_publication", "pg_publication_rel", "pg_foreign_table"),
    *("pg_db_role_setting", "pg_collation"),
)
"""Catalogs that say what the schema is, and nothing of what vacuum and statistics change."""

_SCHEMA = f"""
SELECT concat_ws(' ', {
    ", ".join(f"(SELECT sum(hashtextextended(t::text, 0)) FROM {name} t)" for name in _CATALOGS)
}, (
    SELECT sum(hashtextextended(concat_ws(' ', oid, relname, relnamespace, relowner, relfilenode,
        reltablespace, relkind, relpersistence, relrowsecurity, reloptions, relacl), 0))
    FROM pg_class
))"""

_TABLES = """
SELECT c.oid::regclass::text AS name, c.relname AS bare
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND n.nspname !~ '^(pg_|information_schema)'
ORDER BY 1"""

_SEQUENCES = "SELECT schemaname || '.' || sequencename, last_value::text FROM pg_sequences"


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What a database holds; equal states hold the same.

    Attributes:
        schema: a digest of its schema.
        rows: the number of the rows of each table, and a digest of them.
        sequences: the last value of each sequence.
    """

    schema: str
    rows: Mapping[str, str]
    sequences: Mapping[str, str | None] = field(default_factory=dict)


async def schema_and_history(url: str) -> DatabaseState:
    """What users of an application do not change: the schema, and the history of migrations.

    Raises:
        EnvironmentFailure: the database does not answer.
    """
    return await _state(url, only=HISTORY)


async def everything(url: str) -> DatabaseState:
    """All of it.

    Raises:
        EnvironmentFailure: the database does not answer.
    """
    return await _state(url)


async def _state(url: str, only: re.Pattern[str] | None = None) -> DatabaseState:
    async with connected(url) as connection, connection.transaction(isolation="repeatable_read"):
        schema = await connection.fetchval(_SCHEMA)
        rows = {}
        for table in await connection.fetch(_TABLES):
            if only is None or only.search(table["bare"]):
                query = "SELECT concat_ws(' ', count(*), sum(hashtextextended(t::text, 0))) FROM "
                rows[table["name"]] = await connection.fetchval(f"{query} ONLY {table['name']} t")
        sequences = {} if only else dict(await connection.fetch(_SEQUENCES))
    return DatabaseState(schema, rows, sequences)
