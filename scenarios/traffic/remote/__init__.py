"""The load generator away from the harness, such as in a pod: commanded and read over HTTP."""
