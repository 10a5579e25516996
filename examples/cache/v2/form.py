"""The second version writes pickles, and still reads the JSON of the first one."""

import json
import pickle


def read(kept):
    return pickle.loads(kept) if kept.startswith(b"\x80") else json.loads(kept)  # noqa: S301 - our own


def written(found):
    return pickle.dumps(found)
