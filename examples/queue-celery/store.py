"""Prints the tasks that Redis has for Celery, one JSON object a line.

A task waits in a list, by the name of its queue. A worker that takes it moves it to the hash
`unacked`, and the sorted set `unacked_index` has the time at which it did. When the visibility
timeout is over, another worker may take it.
"""

import json
import os
import time

import redis
from queue_app import VISIBILITY_SECONDS

store = redis.Redis.from_url(os.environ["BROKER_URL"])


def row(message, state, **more):
    headers = message["headers"]
    print(json.dumps({"job": headers["id"], "name": headers["task"], "state": state, **more}))


for text in store.lrange("celery", 0, -1):
    row(json.loads(text), "waiting")
taken = dict(store.zrange("unacked_index", 0, -1, withscores=True))
for tag, text in store.hgetall("unacked").items():
    message = json.loads(text)[0]
    until = taken.get(tag, time.time()) + VISIBILITY_SECONDS - time.time()
    row(message, "held", until_seconds=until)
