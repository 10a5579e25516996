-- depends: expand_contract.0007.status-check-valid

-- ACCESS EXCLUSIVE, for an instant: the valid check proves it, so no row is read (Postgres 12).
SET LOCAL lock_timeout = '100ms';

ALTER TABLE subscriptions ALTER COLUMN status SET NOT NULL;
