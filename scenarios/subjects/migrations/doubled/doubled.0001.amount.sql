-- Changes rows, and does so again if it is run again.
UPDATE readings SET amount = amount + 1 FROM pg_sleep(1);
