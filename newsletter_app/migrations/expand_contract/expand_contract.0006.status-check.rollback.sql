SET LOCAL lock_timeout = '100ms';

ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_status_is_there;
