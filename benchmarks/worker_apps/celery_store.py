"""What Redis has for Celery."""

import json
import os
import time

import redis

store = redis.Redis.from_url(os.environ["BROKER_URL"])


def row(message: dict[str, dict[str, str]], state: str, until: float | None = None) -> None:
    """Print one job."""
    headers = message["headers"]
    line = {"job": headers["id"], "name": headers["task"], "state": state, "until_seconds": until}
    print(json.dumps(line))


for text in store.lrange("celery", 0, -1):
    row(json.loads(text), "waiting")
taken = dict(store.zrange("unacked_index", 0, -1, withscores=True))
for tag, text in store.hgetall("unacked").items():
    row(json.loads(text)[0], "held", taken.get(tag, time.time()) + 3600 - time.time())
