-- The breaking step: column, values and NOT NULL at once. The lock of its first statement holds
-- off every request until all rows are written, and from then on version A's inserts fail.
-- lock_timeout bounds the wait for that lock, so that this set shows its own fault only.
SET LOCAL lock_timeout = '100ms';

ALTER TABLE subscriptions ADD COLUMN status text;

UPDATE subscriptions SET status = 'active';

ALTER TABLE subscriptions ALTER COLUMN status SET NOT NULL;
