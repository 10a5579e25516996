-- depends: expand_contract.0005.backfill

-- ACCESS EXCLUSIVE, for an instant: NOT VALID reads no row, but new ones are checked.
SET LOCAL lock_timeout = '100ms';

ALTER TABLE subscriptions
    ADD CONSTRAINT subscriptions_status_is_there CHECK (status IS NOT NULL) NOT VALID;
