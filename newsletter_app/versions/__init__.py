"""The handlers, one module a release."""
