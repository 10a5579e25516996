SET LOCAL lock_timeout = '100ms';

ALTER TABLE subscriptions ALTER COLUMN status DROP NOT NULL;
