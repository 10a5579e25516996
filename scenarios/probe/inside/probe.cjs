// Lets a Node server answer a few paths of the probe, inside the user's own process.
//
// The probe has every Node process of the command load this file first (NODE_OPTIONS). A request
// for /.hitless-probe/… on any HTTP server is answered here, before the application sees it; its
// sockets, its handlers of signals and its way to close stay the application's own.
"use strict";
const http = require("node:http");

const PREFIX = "/.hitless-probe/";
const PIECE_MS = 500;
// Frameworks that count the requests of their own routes: at a stop they close ours as idle.
const COUNTS_ITS_OWN = ["/@hapi/hapi/"];

function countsItsOwn() {
  return Object.keys(require.cache).some((file) => COUNTS_ITS_OWN.some((one) => file.includes(one)));
}

function headers() {
  return { "Content-Type": "text/plain", "X-Hitless-Probe": `node ${process.version.slice(1)}` };
}

function stream(response, wanted) {
  let number = 0;
  response.writeHead(200, headers());
  const timer = setInterval(piece, PIECE_MS);
  response.on("close", () => clearInterval(timer));
  function piece() {
    if (wanted && number === wanted) {
      clearInterval(timer);
      response.end();
    } else {
      number += 1;
      response.write(`piece ${number}\n`);
    }
  }
  piece();
}

function answer(request, response) {
  const url = new URL(request.url, "http://probe");
  const ok = () => response.writeHead(200, { ...headers(), "Content-Length": 3 }).end("ok\n");
  switch (url.pathname.slice(PREFIX.length)) {
    case "slow":
      setTimeout(ok, 1000 * Number(url.searchParams.get("seconds")));
      break;
    case "stream":
      stream(response, Number(url.searchParams.get("chunks")));
      break;
    default:
      request.on("end", ok).resume();
  }
}

const emit = http.Server.prototype.emit;
http.Server.prototype.emit = function (name, request, response) {
  if (name === "request" && request.url.startsWith(PREFIX) && !countsItsOwn()) {
    answer(request, response);
    return true;
  }
  return emit.apply(this, arguments);
};
