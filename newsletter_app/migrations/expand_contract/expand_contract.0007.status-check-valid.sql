-- depends: expand_contract.0006.status-check

-- Reads the table under SHARE UPDATE EXCLUSIVE: reads and writes go on.
SET LOCAL lock_timeout = '100ms';

ALTER TABLE subscriptions VALIDATE CONSTRAINT subscriptions_status_is_there;
