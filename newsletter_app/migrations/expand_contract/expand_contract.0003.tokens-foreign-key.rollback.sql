SET LOCAL lock_timeout = '100ms';

ALTER TABLE subscription_tokens DROP CONSTRAINT subscription_tokens_subscriber_id_fkey;
