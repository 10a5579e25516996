CREATE TABLE jobs (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT NOT NULL,
    arguments JSONB NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    held_by TEXT,
    held_until TIMESTAMPTZ,
    error TEXT
);
-- What the scheduler has asked for; it stays when the job is done.
CREATE TABLE scheduled (
    name TEXT NOT NULL,
    due TEXT NOT NULL,
    PRIMARY KEY (name, due)
);
CREATE INDEX jobs_to_do ON jobs (id) WHERE state IN ('waiting', 'held');
