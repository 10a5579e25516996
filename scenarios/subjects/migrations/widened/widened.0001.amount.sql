-- Rewrites the table under ACCESS EXCLUSIVE. A warm statement of asyncpg keeps the old type of its
-- argument, and refuses larger values on its own: Postgres' log has no line about it.
SET LOCAL lock_timeout = '2s';

ALTER TABLE readings ALTER COLUMN amount TYPE bigint;
