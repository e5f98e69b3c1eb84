// Calls the functions of a service on this page's own origin, and hears its events.
//
//   const game = service("game", { safe: ["getWinner"] });
//   await game.createGame({ name: "Georgesdelajungle" }, { name: "Aladdin" });   // POST /api/game/createGame
//   const stop = game.on("changed", (state) => …);                               // WebSocket /api/game/events
//   game.on("connected", () => …);   // at first, and after each interruption: what happened meanwhile is unknown
//   game.close();                       // no more events
//
// A call that fails throws a ServiceError, whose `code` is the service's own, or `network`, `timeout`, `http_502`, ….
// After one of these three nobody knows whether the function ran, so only those named in `safe`, which change nothing,
// are called again.

const CALL_MS_MAX = 30_000;
const SAFE_TRIES = 4;
/** A connection that is silent for so long is given up; the server says something every 20 seconds. */
const SILENCE_MS_MAX = 60_000;
const DELAY_MS_MIN = 250;
const DELAY_MS_MAX = 30_000;
const GOING_AWAY = 1001;

export class ServiceError extends Error {
  constructor(code, message, status = 0) {
    super(message);
    this.name = "ServiceError";
    this.code = code;
    this.status = status;
  }
}

/** A service by its name. All but `safe` are the page's own, unless a test has others. */
export function service(name, options = {}) {
  const { safe = [], origin = globalThis.location?.origin } = options;
  const call = async (action, args) => {
    for (let left = safe.includes(action) ? SAFE_TRIES : 1; ; left--) {
      try {
        return await callOnce(`${origin}/api/${name}/${action}`, args, options.fetch ?? globalThis.fetch);
      } catch (error) {
        const mayPass = ["network", "timeout", "http_502", "http_503", "http_504"].includes(error.code);
        if (left === 1 || !mayPass) throw error;
        await new Promise((resolve) => setTimeout(resolve, delay(SAFE_TRIES - left)));
      }
    }
  };
  const events = new Events(`${origin?.replace(/^http/, "ws")}/api/${name}/events`, options);
  const own = { on: (event, handler) => events.on(event, handler), close: () => events.close() };
  return new Proxy(Object.freeze({}), {
    get(_, action) {
      // `then` would make a promise of it, to whoever awaits the service itself.
      if (typeof action !== "string" || action === "then") return undefined;
      return Object.hasOwn(own, action) ? own[action] : (...args) => call(action, args);
    },
  });
}

async function callOnce(url, args, fetch) {
  // What is no JSON is the caller's own mistake, and not the network's.
  const sent = JSON.stringify(args);
  let answer, body;
  try {
    const signal = AbortSignal.timeout(CALL_MS_MAX);
    const headers = { "content-type": "application/json" };
    answer = await fetch(url, { method: "POST", headers, body: sent, signal });
    body = await answer.text();
  } catch (error) {
    if (error.name === "TimeoutError") throw new ServiceError("timeout", "the service did not answer in time");
    throw new ServiceError("network", "the service cannot be reached");
  }
  try {
    body = JSON.parse(body);
  } catch {
    // An answer of something in between.
  }
  const { status } = answer;
  if (answer.ok && typeof body === "object" && body !== null && "result" in body) return body.result;
  // What stands in front of the service has codes too, but whether it ran is in its status.
  const code = [502, 503, 504].includes(status) || typeof body?.code !== "string" ? `http_${status}` : body.code;
  throw new ServiceError(code, body?.message ?? body?.detail ?? `the service answered ${status}`, status);
}

/** How long to wait after so many failures: twice as long each time, and never all browsers at once. */
function delay(failures) {
  return Math.min(DELAY_MS_MAX, DELAY_MS_MIN * 2 ** failures) * (0.5 + Math.random() / 2);
}

class Events {
  #url;
  #WebSocket;
  #handlers = new Map();
  #socket;
  #timer;
  #failures = 0;
  #silenceMs;

  constructor(url, { WebSocket, silenceMs = SILENCE_MS_MAX }) {
    this.#url = url;
    this.#WebSocket = WebSocket;
    this.#silenceMs = silenceMs;
  }

  on(event, handler) {
    const isNew = !this.#handlers.has(event);
    if (isNew) this.#handlers.set(event, new Set());
    this.#handlers.get(event).add(handler);
    if (!this.#socket && !this.#timer) this.#connect();
    else if (isNew && this.#socket?.readyState === 1) this.#subscribe();
    return () => this.#handlers.get(event)?.delete(handler);
  }

  close() {
    clearTimeout(this.#timer);
    this.#handlers.clear();
    const socket = this.#socket;
    this.#socket = this.#timer = undefined;
    socket?.close();
  }

  #connect() {
    const socket = (this.#socket = new (this.#WebSocket ?? globalThis.WebSocket)(this.#url));
    // Of a socket that was given up nothing counts any more.
    const current = (act) => (event) => this.#socket === socket && act(event);
    socket.onopen = current(() => this.#subscribe());
    socket.onmessage = current(({ data }) => this.#take(JSON.parse(data)));
    socket.onclose = current(({ code }) => this.#again(code));
    // `onclose` follows and says all that counts; the package `ws` ends the process over an error that nobody hears.
    socket.onerror = () => {};
    this.#listen();
  }

  #subscribe() {
    const subscribe = [...this.#handlers.keys()].filter((event) => !["connected", "disconnected"].includes(event));
    this.#socket.send(JSON.stringify({ subscribe }));
  }

  #take({ event, data, subscribed }) {
    this.#listen();
    if (subscribed) {
      this.#failures = 0;
      this.#tell("connected");
    } else if (event) {
      this.#tell(event, data);
    }
  }

  #tell(event, data) {
    for (const handler of [...(this.#handlers.get(event) ?? [])]) {
      try {
        handler(data);
      } catch (error) {
        // One handler's failure is no other's.
        console.error(error);
      }
    }
  }

  /** Waits for the next word of the server. */
  #listen() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const silent = this.#socket;
      this.#again();
      silent.close();
    }, this.#silenceMs);
  }

  #again(code) {
    clearTimeout(this.#timer);
    this.#socket = undefined;
    // A server that says that it goes away has a successor already.
    const wait = code === GOING_AWAY && this.#failures === 0 ? Math.random() * DELAY_MS_MIN : delay(this.#failures);
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#tell("disconnected");
  }
}
