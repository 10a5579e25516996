"""The containers of a docker compose project that somebody else deploys."""
