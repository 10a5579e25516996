-- Expand: a nullable column changes nothing for version A. ACCESS EXCLUSIVE, for an instant.
SET LOCAL lock_timeout = '100ms';

ALTER TABLE subscriptions ADD COLUMN status text;
