-- transactional: false
-- depends: expand_contract.0004.tokens-foreign-key-valid

-- The first step of the second half: every replica that serves writes the status by now.
-- Those who subscribed without a confirmation are active. A thousand rows a transaction, in the
-- order of the key; rows that a request holds are left for the next round. It ends only when no
-- row is without a status, also if version A added some behind its back, and it can be run again
-- after it was killed.
DO $backfill$
DECLARE
    nil CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    batch CONSTANT integer := 1000;
    last uuid := nil;
    reached uuid;
BEGIN
    LOOP
        WITH chosen AS (
            SELECT id FROM subscriptions
            WHERE id >= last AND status IS NULL
            ORDER BY id LIMIT batch FOR UPDATE SKIP LOCKED
        ), filled AS (
            UPDATE subscriptions SET status = 'active' FROM chosen
            WHERE subscriptions.id = chosen.id RETURNING subscriptions.id
        )
        SELECT id INTO reached FROM filled ORDER BY id DESC LIMIT 1;
        COMMIT;
        IF reached IS NOT NULL THEN
            last := reached;
        ELSIF last <> nil THEN
            last := nil;
        ELSIF EXISTS (SELECT FROM subscriptions WHERE status IS NULL) THEN
            PERFORM pg_sleep(0.05);
        ELSE
            EXIT;
        END IF;
    END LOOP;
END
$backfill$;
