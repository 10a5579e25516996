// Fastify: one page, one WebSocket; `close` closes at SIGTERM, `grace` does it by close-with-grace.
const fastify = require("fastify")();

async function main() {
  await fastify.register(require("@fastify/websocket"));
  fastify.get("/", async () => "hello");
  fastify.get("/ws", { websocket: true }, (socket) => socket.on("message", () => {}));
  if (process.argv[2] === "close") {
    process.on("SIGTERM", () => fastify.close().then(() => process.exit(0)));
  }
  if (process.argv[2] === "grace") {
    require("close-with-grace")(() => fastify.close());
  }
  await fastify.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });
}

main();
