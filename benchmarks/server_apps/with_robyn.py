"""Robyn: the probe cannot answer paths of its own there, so the application has them."""

import asyncio
import os

from robyn import Robyn

app = Robyn(__file__)


@app.get("/")
async def hello():
    return "hello"


@app.get("/slow")
async def slow(request):
    await asyncio.sleep(float(request.query_params.get("seconds", "0")))
    return "ok"


@app.post("/upload")
async def upload(request):
    return str(len(request.body))


app.start(host="127.0.0.1", port=int(os.environ["PORT"]))
