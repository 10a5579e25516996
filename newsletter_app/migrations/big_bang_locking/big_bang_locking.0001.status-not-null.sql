-- What a hurried hand writes: all rows and NOT NULL in one transaction, with no lock_timeout.
-- It follows the first half of expand_contract, where version B serves already. Each row that is
-- written stays locked until the end. A confirmation that comes meanwhile waits for its row, and
-- holds its own lock on the table; SET NOT NULL needs the table for itself. Each then waits for
-- the other: a deadlock, in which Postgres gives up the migration (40P01) with all of its work.
UPDATE subscriptions SET status = coalesce(status, 'pending_confirmation')
WHERE id IN (SELECT subscriber_id FROM subscription_tokens);

UPDATE subscriptions SET status = 'active' WHERE status IS NULL;

ALTER TABLE subscriptions ALTER COLUMN status SET NOT NULL;
