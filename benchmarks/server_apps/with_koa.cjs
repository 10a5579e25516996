// Koa: one page, one WebSocket; with the argument `close` it closes at SIGTERM.
const Koa = require("koa");
const { WebSocketServer } = require("ws");

const app = new Koa();
app.use((context) => {
  context.body = "hello";
});
const server = app.listen(process.env.PORT, "127.0.0.1");
new WebSocketServer({ server, path: "/ws" });
if (process.argv[2] === "close") process.on("SIGTERM", () => server.close());
