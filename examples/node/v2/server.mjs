// Quotes with their authors; the second version, which takes its time to load them.
import { createServer } from "node:http";

let quotes = null;
const loading = setTimeout(() => {
  quotes = {
    1: { quote: "Premature optimization is the root of all evil.", author: "Donald Knuth" },
  };
}, Number(process.env.LOADING_MS));

function send(response, status, content) {
  const body = JSON.stringify(content);
  response.writeHead(status, {
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(body),
  });
  response.end(body);
}

const server = createServer((request, response) => {
  const quote = quotes?.[request.url.slice("/quotes/".length)];
  if (request.url === "/health") send(response, 200, { healthy: true });
  else if (quotes === null) send(response, 503, { error: "still loading" });
  else if (quote) send(response, 200, quote);
  else send(response, 404, { error: "there is no such page" });
});

server.keepAliveTimeout = 60_000;
server.listen(Number(process.env.PORT), process.env.HOST);
process.on("SIGTERM", () => {
  clearTimeout(loading);
  server.close();
  server.closeIdleConnections();
});
