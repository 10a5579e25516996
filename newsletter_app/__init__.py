"""The subject: a newsletter API, as three releases of one program."""
