// BullMQ with its defaults: `web` asks for jobs, `worker` does them, `store` says what Redis has.
const fs = require("node:fs");
const http = require("node:http");
const { Queue, Worker } = require("bullmq");

const url = new URL(process.env.BROKER_URL);
const connection = { host: url.hostname, port: Number(url.port) };

function tell(what, job, more = {}) {
  const path = process.env.HITLESS_JOBS;
  if (!path) return;
  const who = { by: process.env.HITLESS_REPLICA, version: process.env.HITLESS_VERSION };
  const line = { what, job, at_ns: Number(process.hrtime.bigint()), ...who, ...more };
  fs.appendFileSync(path, JSON.stringify(line) + "\n");
}

const isNew = Boolean(process.env.NEW) && process.env.HITLESS_VERSION === "v2";
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

function web(port) {
  const queue = new Queue("bench", { connection });
  const server = http.createServer(async (request, response) => {
    if (request.method === "POST") {
      let text = "";
      for await (const part of request) text += part;
      const body = JSON.parse(text);
      const name = isNew ? body.name : "job";
      const data = { seconds: body.seconds ?? 0, ...(isNew && body.language ? { language: body.language } : {}) };
      // Then only the second version asks, so that its jobs find the worker of the first one idle.
      const count = process.env.NEW && !isNew ? 0 : (body.count ?? 1);
      for (let n = 0; n < count; n++) {
        const job = await queue.add(name, data);
        tell("asked", job.id, { name, key: body.key });
      }
    }
    response.writeHead(request.method === "POST" ? 202 : 200).end("{}");
  });
  server.listen(port, "127.0.0.1");
  process.on("SIGTERM", () => server.close(() => process.exit(0)));
}

async function worker() {
  if (process.env.CRON) {
    await new Queue("bench", { connection }).upsertJobScheduler("every_minute", { pattern: "* * * * *" }, { name: "every_minute" });
  }
  const done = new Worker(
    "bench",
    async (job) => {
      const due = job.name === "every_minute" ? { due: new Date().toTimeString().slice(0, 5) } : {};
      tell("begun", job.id, { name: job.name, ...due });
      await sleep(job.data.seconds ?? 0);
      tell("ended", job.id, { name: job.name, ...due });
    },
    { connection },
  );
  done.on("ready", () => console.log("ready"));
  done.on("error", (error) => console.error(error.message));
  if (process.env.CLOSES) {
    process.on("SIGTERM", async () => {
      await done.close();
      process.exit(0);
    });
  }
}

async function store() {
  const queue = new Queue("bench", { connection });
  const states = { waiting: "waiting", prioritized: "waiting", active: "held", delayed: "scheduled", failed: "failed" };
  for (const [type, state] of Object.entries(states)) {
    for (const job of await queue.getJobs([type])) {
      const until = state === "scheduled" ? (job.timestamp + job.delay - Date.now()) / 1000 : null;
      const line = { job: job.id, name: job.name, state, until_seconds: until, error: job.failedReason };
      console.log(JSON.stringify(line));
    }
  }
  await queue.close();
}

({ web: () => web(Number(process.argv[3])), worker, store })[process.argv[2]]();
