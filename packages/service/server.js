// The methods of a class become the functions of a service.
//
//   class Greeter {
//     static functions = { greet: [{ name: "string" }] };   // what is offered, and the shape of each argument
//     static events = ["greeted"];                          // what a browser may wait for
//     greet({ name }) { return `Hello ${name}`; }
//   }
//   const served = serve({ greeter: new Greeter() });
//   served.server.listen(3000, "127.0.0.1");
//   served.emit("greeter", "greeted", { name: "Aladdin" });  // to every browser that this process holds
//
// POST /api/greeter/greet with the JSON array of the arguments as its body, `[{"name": "Aladdin"}]`, is answered
// `{"result": "Hello Aladdin"}`, or with another status `{"code": "…", "message": "…"}`. Nothing is offered that
// `functions` does not name, and no name that is inherited or begins with `_`. The body must say that it is JSON: no
// form of a foreign page can, and such a page's script is stopped by the browser, as no answer here allows it.
//
// /api/greeter/events is a WebSocket: `{"subscribe": ["greeted"]}` is answered `{"subscribed": ["greeted"]}`, and each
// event then comes as `{"event": "greeted", "data": …}`. /healthz answers 200.

import { createServer } from "node:http";
import { isShape, mismatch } from "./shapes.js";
import { accept, refuse } from "./websocket.js";

const BODY_BYTES_MAX = 64 * 1_024;
/** What is somewhat too long is read to its end, so that its sender hears the answer; what is longer is cut off. */
const BODY_BYTES_READ_MAX = 1_024 * 1_024;
const SOCKETS_MAX = 1_000;
/** How often every socket hears that this process lives; a browser that hears nothing for long connects again. */
const ALIVE_EVERY_MS = 20_000;
/** The longest that a request may take to come in, and an end in order; no caller waits longer for an answer. */
const REQUEST_MS_MAX = 30_000;
/** How long a connection without a request stays: longer than a proxy keeps it, so that the proxy is who ends it. */
const IDLE_MS_MAX = 120_000;
/** Names that mean something else to the helper in the browser. */
const RESERVED = ["on", "close", "then", "events"];

/** What a function throws to say no: the caller gets the code and the message. Anything else it throws is hidden. */
export class Refusal extends Error {
  constructor(code, message, status = 409) {
    if (!Number.isInteger(status) || status < 400 || status > 599) {
      throw new RangeError(`the status of a refusal is 400 to 599, not ${status}`);
    }
    super(message);
    Object.assign(this, { code, status });
  }
}

/** Offers services, by their names. Gives the HTTP server, `emit`, and `close` for an end in order. */
export function serve(services, { log = (line) => console.error(line), aliveEveryMs = ALIVE_EVERY_MS } = {}) {
  const offered = new Map(Object.entries(services).map(([name, object]) => [name, offer(name, object)]));
  const sockets = new Set();
  let closing = false;
  const times = { requestTimeout: REQUEST_MS_MAX, keepAliveTimeout: IDLE_MS_MAX };
  const server = createServer(times, async (request, response) => {
    // The text is made here, as neither what a function gives nor the code of a refusal need be JSON.
    const failed = (error) => written(failure(error, request, log));
    const { status, text, headers } = await answer(offered, request).then(written).catch(failed).catch(failed);
    // A caller who has gone in the middle of the body hears no answer.
    if (request.destroyed && !request.complete) return;
    send(response, status, text, closing ? { ...headers, connection: "close" } : headers);
  });
  server.on("upgrade", (request, socket, head) => {
    const [service, last] = route(request.url) ?? [];
    const events = last === "events" ? offered.get(service)?.events : undefined;
    if (!events) return refuse(socket, "404 Not Found");
    if (closing || sockets.size >= SOCKETS_MAX) return refuse(socket, "503 Service Unavailable");
    const connection = accept(request, socket, head, {
      text: (text) => subscribe(connection, events, text),
      closed: () => sockets.delete(connection),
    });
    if (!connection) return;
    sockets.add(Object.assign(connection, { service, subscribed: new Set() }));
  });
  const alive = setInterval(() => sockets.forEach((socket) => {
    socket.send('{"alive":true}');
    socket.ping();
  }), aliveEveryMs).unref();

  return {
    server,
    emit(service, event, data) {
      const text = JSON.stringify({ event, data });
      for (const socket of sockets) {
        if (socket.service === service && socket.subscribed.has(event)) socket.send(text);
      }
    },
    /** Takes nothing new, finishes what is under way in bounded time, and closes every socket with 1001. */
    async close() {
      closing = true;
      clearInterval(alive);
      const ended = new Promise((resolve) => server.close(resolve));
      server.closeIdleConnections();
      // A closed server no longer looks at its times, and a connection without a whole request is not idle to it.
      const cut = setTimeout(() => server.closeAllConnections(), REQUEST_MS_MAX).unref();
      await Promise.all([ended, ...[...sockets].map((socket) => socket.close(1001, "going away"))]);
      clearTimeout(cut);
    },
  };
}

/** What one object offers. A declaration that cannot be kept stops the start. */
function offer(service, object) {
  const { functions = {}, events = [] } = object.constructor;
  const own = Object.getOwnPropertyNames(object.constructor.prototype).filter((name) => name !== "constructor");
  const table = new Map();
  for (const [name, shapes] of Object.entries(functions)) {
    const isFree = /^[a-z]\w*$/i.test(name) && !RESERVED.includes(name);
    if (!isFree || !own.includes(name) || typeof object[name] !== "function") {
      throw new TypeError(`${service}.${name} cannot be offered`);
    }
    if (!shapes.every(isShape)) throw new TypeError(`${service}.${name} declares what is no shape`);
    table.set(name, { shapes, call: (args) => object[name](...args) });
  }
  const forgotten = own.find((name) => !name.startsWith("_") && !table.has(name));
  if (forgotten) {
    throw new TypeError(`${service}.${forgotten} is declared nowhere: name its arguments, or begin it with _`);
  }
  return { functions: table, events: new Set(events) };
}

/** The service and the function that a path names; nothing if it is of another form. */
function route(url) {
  return /^\/api\/([^/?]+)\/([^/?]+)(?:\?|$)/.exec(url)?.slice(1);
}

async function answer(offered, request) {
  const path = request.url.split("?", 1)[0];
  if (path === "/healthz") return { status: 200, body: { status: "ok" } };
  const [service, name] = route(request.url) ?? [];
  const { functions, events } = offered.get(service) ?? {};
  if (!functions) throw new Refusal("unknown_service", "there is no such service", 404);
  if (name === "events" && events.size > 0) throw new Refusal("upgrade_required", "this is a WebSocket", 426);
  const known = functions.get(name);
  if (!known) throw new Refusal("unknown_function", "this service has no such function", 404);
  if (request.method !== "POST") throw new Refusal("method_not_allowed", "a function is called by POST", 405);
  if (!/^application\/json\s*(;|$)/i.test(request.headers["content-type"] ?? "")) {
    throw new Refusal("unsupported_media_type", "the arguments are sent as application/json", 415);
  }
  const args = parse(await bodyOf(request));
  if (!Array.isArray(args)) throw new Refusal("bad_arguments", "the arguments are a list", 400);
  if (args.length !== known.shapes.length) {
    throw new Refusal("bad_arguments", `${name} takes ${known.shapes.length} arguments, not ${args.length}`, 400);
  }
  args.forEach((arg, at) => {
    const wrong = mismatch(arg, known.shapes[at], `argument ${at + 1}`);
    if (wrong) throw new Refusal("bad_arguments", wrong, 400);
  });
  return { status: 200, body: { result: (await known.call(args)) ?? null } };
}

async function bodyOf(request) {
  const tooLarge = () => new Refusal("body_too_large", `the arguments have at most ${BODY_BYTES_MAX} bytes`, 413);
  if (Number(request.headers["content-length"] ?? 0) > BODY_BYTES_READ_MAX) throw tooLarge();
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_READ_MAX) throw tooLarge();
    if (bytes <= BODY_BYTES_MAX) chunks.push(chunk);
  }
  if (bytes > BODY_BYTES_MAX) throw tooLarge();
  return Buffer.concat(chunks);
}

function parse(bytes) {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new Refusal("bad_json", "the arguments are not JSON", 400);
  }
}

/** The answer to a request that failed. */
function failure(error, request, log) {
  if (!(error instanceof Refusal)) {
    log(`${request.method} ${request.url}: ${error?.stack ?? error}`);
    return { status: 500, body: { code: "internal", message: "the service has failed" } };
  }
  const { status, code, message } = error;
  const headers = {};
  if (status === 405) headers.allow = "POST";
  if (status === 426) Object.assign(headers, { upgrade: "websocket", connection: "upgrade" });
  // What is left of a body that is refused is not read: the connection ends with the answer.
  if (!request.complete) headers.connection = "close";
  return { status, body: { code, message }, headers };
}

/** An answer with its body as text. */
function written({ body, ...rest }) {
  return { ...rest, text: JSON.stringify(body) };
}

function send(response, status, text, headers = {}) {
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
    ...headers,
  });
  response.end(text);
}

function subscribe(connection, events, text) {
  let wanted;
  try {
    wanted = JSON.parse(text).subscribe;
  } catch {
    // Refused below.
  }
  if (!Array.isArray(wanted) || !wanted.every((event) => events.has(event))) {
    return connection.close(1008, "subscribe to events that there are");
  }
  connection.subscribed = new Set(wanted);
  connection.send(JSON.stringify({ subscribed: wanted }));
}
