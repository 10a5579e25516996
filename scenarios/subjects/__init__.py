"""Small applications for the catalog, started by command like any other."""
