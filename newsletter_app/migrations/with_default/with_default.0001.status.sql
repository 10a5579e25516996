-- A constant default needs no rewrite of the table, and version A's inserts get it.
SET LOCAL lock_timeout = '100ms';

ALTER TABLE subscriptions ADD COLUMN status text NOT NULL DEFAULT 'active';
