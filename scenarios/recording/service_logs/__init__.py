"""The logs of a service that somebody else runs: its proxies' and its application's."""
