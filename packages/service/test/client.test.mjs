// The client, with answers and connections of the test's own.

import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { test } from "node:test";
import { ServiceError, service } from "../index.js";
import { serve } from "../server.js";
import { TinyWebSocket, after, eventually } from "./support.mjs";

test("a service can be awaited, and has no names but strings", async () => {
  const game = service("game", { origin: "http://127.0.0.1:9" });
  assert.equal(await game, game);
  assert.equal(game[Symbol.iterator], undefined);
  // Every other name is a function of the service, of which there may be none.
  await assert.rejects(game.toString(), { code: "network" });
});

test("what fails has a code, and only what is safe is called again", async () => {
  const answers = {
    502: () => new Response("<html>", { status: 502 }),
    404: () => Response.json({ code: "not_found", detail: "nothing is there" }, { status: 404 }),
    503: () => Response.json({ code: "upstream_down", detail: "nobody answers" }, { status: 503 }),
    network: () => Promise.reject(new TypeError("fetch failed")),
    timeout: () => Promise.reject(new DOMException("", "TimeoutError")),
    html: () => new Response("<html>"),
    good: () => Response.json({ result: 7 }),
  };
  const asked = async (name, ...kinds) => {
    let tries = 0;
    const fetch = () => answers[kinds[Math.min(tries++, kinds.length - 1)]]();
    const counter = service("counter", { origin: "http://x", safe: ["read"], fetch });
    const outcome = await counter[name]().catch((error) => (assert.ok(error instanceof ServiceError), error.code));
    return [outcome, tries];
  };
  const passing = { 502: "http_502", 503: "http_503", network: "network", timeout: "timeout" };
  for (const [kind, code] of Object.entries(passing)) {
    assert.deepEqual(await asked("add", kind), [code, 1], kind);
    assert.deepEqual(await asked("read", kind, "good"), [7, 2], kind);
  }
  assert.deepEqual(await asked("read", "404"), ["not_found", 1]);
  assert.deepEqual(await asked("read", "html"), ["http_200", 1]);
  assert.deepEqual(await asked("read", "502"), ["http_502", 4]);
});

test("arguments that are no JSON are the caller's error, and are not sent", async () => {
  let tries = 0;
  const fetch = () => Promise.reject(new TypeError(`call ${(tries += 1)}`));
  const counter = service("counter", { origin: "http://x", safe: ["read"], fetch });
  const error = await counter.read(1n).catch((error) => error);
  assert.ok(error instanceof TypeError && /BigInt/.test(error.message), `${error}`);
  assert.equal(tries, 0);
});

test("a server that says nothing any more is given up, and one that lives says so", async (t) => {
  class Clock {
    static functions = {};
    static events = ["tick"];
  }
  const served = serve({ clock: new Clock() }, { aliveEveryMs: 50 });
  await new Promise((resolve) => served.server.listen(0, "127.0.0.1", resolve));
  after(t, () => served.close());
  const origin = `http://127.0.0.1:${served.server.address().port}`;
  class Deaf extends TinyWebSocket {
    set onmessage(_) {}
    get onmessage() {
      return undefined;
    }
  }
  const cuts = [TinyWebSocket, Deaf].map((WebSocket) => {
    const clock = service("clock", { origin, WebSocket, silenceMs: 1_000 });
    after(t, () => clock.close());
    const counted = { count: 0 };
    clock.on("disconnected", () => (counted.count += 1));
    return counted;
  });
  // By then the other one would have been given up as often.
  await eventually(() => cuts[1].count === 3);
  assert.ok(cuts[0].count < 3, `${cuts[0].count}`);
});

test("a connection that fails as one of the package `ws` does ends no process and is made again", async (t) => {
  // It emits its errors, and `onerror` is a listener: one that nobody hears is thrown.
  class Emitting extends EventEmitter {
    static opened = 0;
    readyState = 0;

    constructor() {
      super();
      Emitting.opened += 1;
      setImmediate(() => {
        try {
          this.emit("error", new Error("connect ECONNREFUSED"));
        } catch (error) {
          Emitting.thrown = error;
        }
        this.onclose?.({ code: 1006 });
      });
    }

    set onerror(listener) {
      this.on("error", listener);
    }

    close() {}
  }
  const clock = service("clock", { origin: "http://127.0.0.1:9", WebSocket: Emitting });
  after(t, () => clock.close());
  clock.on("connected", () => {});
  await eventually(() => Emitting.opened === 2);
  assert.equal(Emitting.thrown, undefined);
});
