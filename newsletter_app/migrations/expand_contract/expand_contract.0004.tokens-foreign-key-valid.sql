-- depends: expand_contract.0003.tokens-foreign-key

-- The last step of the first half: after it the bridge is deployed.
-- SHARE UPDATE EXCLUSIVE, ROW SHARE on the parent: reads and writes go on.
SET LOCAL lock_timeout = '100ms';

ALTER TABLE subscription_tokens VALIDATE CONSTRAINT subscription_tokens_subscriber_id_fkey;
