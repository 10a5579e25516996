-- S0: the schema that version A serves.
SET LOCAL lock_timeout = '100ms';

CREATE TABLE subscriptions (
    id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE,
    name text NOT NULL,
    subscribed_at timestamptz NOT NULL
);
