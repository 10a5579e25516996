"""What the catalog says of the columns of a database, for whoever changes their types."""

from collections import Counter
from collections.abc import Mapping

from orchestrator.database import connected
from scenarios.check.suggested_parts import ColumnFacts

_COLUMNS = """
SELECT c.oid, c.relname AS table_name, a.attname AS name, a.attnotnull AS not_null,
    format_type(a.atttypid, a.atttypmod) AS type,
    (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d
        WHERE d.adrelid = c.oid AND d.adnum = a.attnum AND a.attgenerated = '') AS default_value,
    (SELECT coalesce(array_agg(pg_describe_object(d.classid, d.objid, d.objsubid)), '{}')
        FROM pg_depend d WHERE d.refobjid = c.oid AND d.refobjsubid = a.attnum
        AND d.refclassid = 'pg_class'::regclass
        AND d.classid <> 'pg_attrdef'::regclass
        AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.oid = d.objid AND k.contype = 'n')
    ) AS used_by
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
    AND n.nspname !~ '^(pg_|information_schema)'"""


async def column_facts(url: str) -> Mapping[tuple[str, str], ColumnFacts]:
    """The columns of all tables, by their table and name.

    Tables of which two have the same name, in two schemas, are left out.

    Raises:
        EnvironmentFailure: the database does not answer.
    """
    async with connected(url) as connection:
        rows = await connection.fetch(_COLUMNS)
        tables = Counter(name for _, name in {(row["oid"], row["table_name"]) for row in rows})
        return {
            (row["table_name"], row["name"]): ColumnFacts(
                type=row["type"],
                not_null=row["not_null"],
                default=row["default_value"],
                used_by=tuple(row["used_by"]),
            )
            for row in rows
            if tables[row["table_name"]] == 1
        }
