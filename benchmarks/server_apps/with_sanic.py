"""Sanic: one page, one WebSocket."""

from sanic import Sanic, text

app = Sanic("hello")


@app.get("/")
async def hello(request):
    return text("hello")


@app.websocket("/ws")
async def socket(request, websocket):
    async for _ in websocket:
        pass
