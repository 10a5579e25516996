-- depends: expand_contract.0008.status-not-null

-- NOT NULL says the same. The schema is now what big_bang reaches.
SET LOCAL lock_timeout = '100ms';

ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_status_is_there;
