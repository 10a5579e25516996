-- An instant of ACCESS EXCLUSIVE. Whoever asks for `*` gets the same row under another name.
SET LOCAL lock_timeout = '2s';

ALTER TABLE readings RENAME COLUMN device TO sensor;
