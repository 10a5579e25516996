CREATE TABLE readings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device text NOT NULL,
    amount bigint NOT NULL,
    price integer NOT NULL
);
