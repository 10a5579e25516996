"""Tornado: one page, one WebSocket."""

import asyncio
import os

import tornado.web
import tornado.websocket


class Hello(tornado.web.RequestHandler):
    def get(self):
        self.write("hello")


class Socket(tornado.websocket.WebSocketHandler):
    def on_message(self, message):
        pass


async def main():
    app = tornado.web.Application([("/", Hello), ("/ws", Socket)])
    app.listen(int(os.environ["PORT"]), "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
