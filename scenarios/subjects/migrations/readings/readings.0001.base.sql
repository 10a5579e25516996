CREATE TABLE readings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device text NOT NULL,
    amount integer NOT NULL,
    price integer NOT NULL
);

-- The history of the tool in `scenarios.subjects.migrate`.
CREATE TABLE schema_version (number integer NOT NULL);
