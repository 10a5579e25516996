-- depends: expand_contract.0002.tokens

-- SHARE ROW EXCLUSIVE on both tables, for an instant: NOT VALID reads no row.
SET LOCAL lock_timeout = '100ms';

ALTER TABLE subscription_tokens
    ADD CONSTRAINT subscription_tokens_subscriber_id_fkey
    FOREIGN KEY (subscriber_id) REFERENCES subscriptions (id) NOT VALID;
