// Quotes, from memory; the first version.
import { createServer } from "node:http";

const QUOTES = { 1: "Premature optimization is the root of all evil." };

function send(response, status, content) {
  const body = JSON.stringify(content);
  response.writeHead(status, {
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(body),
  });
  response.end(body);
}

const server = createServer((request, response) => {
  const quote = QUOTES[request.url.slice("/quotes/".length)];
  if (request.url === "/health") send(response, 200, { healthy: true });
  else if (quote) send(response, 200, { quote });
  else send(response, 404, { error: "there is no such page" });
});

server.keepAliveTimeout = 60_000;
server.listen(Number(process.env.PORT), process.env.HOST);
process.on("SIGTERM", () => {
  server.close();
  server.closeIdleConnections();
});
