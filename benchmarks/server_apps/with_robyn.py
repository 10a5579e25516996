"""Robyn: the probe cannot answer paths of its own there, so the application has them."""

import asyncio
import itertools
import os
import time

from robyn import Robyn, StreamingResponse

app = Robyn(__file__)


@app.get("/")
async def hello():
    return "hello"


@app.get("/slow")
async def slow(request):
    await asyncio.sleep(float(request.query_params.get("seconds", "0")))
    return "ok"


@app.get("/stream")
def stream(request):
    chunks = int(request.query_params.get("chunks", "0"))

    def pieces():
        for number in range(1, chunks + 1) if chunks else itertools.count(1):
            yield f"piece {number}\n"
            time.sleep(0.5)

    return StreamingResponse(pieces(), media_type="text/plain")


@app.post("/upload")
async def upload(request):
    return str(len(request.body))


app.start(host="127.0.0.1", port=int(os.environ["PORT"]))
