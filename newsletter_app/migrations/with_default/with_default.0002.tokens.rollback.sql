SET LOCAL lock_timeout = '100ms';

DROP TABLE subscription_tokens;
