SET LOCAL lock_timeout = '100ms';

ALTER TABLE subscriptions DROP COLUMN status;
