// Node's own server: one page, and one WebSocket where `ws` is installed; with the argument `close`
// it closes at SIGTERM.
const http = require("node:http");

const server = http.createServer((request, response) => response.end("hello"));
try {
  const { WebSocketServer } = require("ws");
  new WebSocketServer({ server, path: "/ws" });
} catch (error) {
  if (error.code !== "MODULE_NOT_FOUND") throw error;
}
server.listen(process.env.PORT, "127.0.0.1");
if (process.argv[2] === "close") process.on("SIGTERM", () => server.close());
