-- Nobody misses the NULLs: version A does not read the column.
SELECT 1;
