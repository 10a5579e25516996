-- A valid constraint is as good as one that is not valid yet: there is nothing to undo.
SELECT 1;
