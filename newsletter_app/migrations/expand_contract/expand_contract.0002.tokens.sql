-- depends: expand_contract.0001.status-nullable

-- A token's row is the outbox entry of the mail that carries it.
-- The foreign key follows on its own: here it would lock subscriptions against writes.
SET LOCAL lock_timeout = '100ms';

CREATE TABLE subscription_tokens (
    subscription_token text PRIMARY KEY,
    subscriber_id uuid NOT NULL UNIQUE,
    request_id text NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    sent_at timestamptz
);

CREATE INDEX subscription_tokens_due ON subscription_tokens (due_at) WHERE sent_at IS NULL;
