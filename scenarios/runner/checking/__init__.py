"""Tries versions on schemas: real processes, real databases, each journey of the scenario once."""
