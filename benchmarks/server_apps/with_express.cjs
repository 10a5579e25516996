// Express: one page, one WebSocket; with the argument `close` it closes at SIGTERM.
const express = require("express");
const { WebSocketServer } = require("ws");

const app = express();
app.get("/", (request, response) => response.send("hello"));
const server = app.listen(process.env.PORT, "127.0.0.1");
new WebSocketServer({ server, path: "/ws" });
if (process.argv[2] === "close") process.on("SIGTERM", () => server.close());
