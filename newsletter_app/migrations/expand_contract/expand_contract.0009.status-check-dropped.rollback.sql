-- NOT VALID, so that no row is read: NOT NULL still holds for all of them.
SET LOCAL lock_timeout = '100ms';

ALTER TABLE subscriptions
    ADD CONSTRAINT subscriptions_status_is_there CHECK (status IS NOT NULL) NOT VALID;
