-- depends: big_bang.0001.status

-- A token's row is the outbox entry of the mail that carries it.
SET LOCAL lock_timeout = '100ms';

CREATE TABLE subscription_tokens (
    subscription_token text PRIMARY KEY,
    subscriber_id uuid NOT NULL UNIQUE REFERENCES subscriptions (id),
    request_id text NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    sent_at timestamptz
);

CREATE INDEX subscription_tokens_due ON subscription_tokens (due_at) WHERE sent_at IS NULL;
