// Node's own server: one page, one WebSocket; with the argument `close` it closes at SIGTERM.
const http = require("node:http");
const { WebSocketServer } = require("ws");

const server = http.createServer((request, response) => response.end("hello"));
new WebSocketServer({ server, path: "/ws" });
server.listen(process.env.PORT, "127.0.0.1");
if (process.argv[2] === "close") process.on("SIGTERM", () => server.close());
