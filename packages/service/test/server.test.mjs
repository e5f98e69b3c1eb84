// What a service offers, and all that it refuses.

import assert from "node:assert/strict";
import { request as rawRequest } from "node:http";
import { connect } from "node:net";
import { test } from "node:test";
import { Refusal, serve } from "../server.js";
import { after, call } from "./support.mjs";

class Base {
  inherited() {
    return "of the class above";
  }
}

class Greeter extends Base {
  static functions = {
    greet: [{ name: "string", "age?": "integer" }],
    sum: [["number"]],
    refuse: [],
    break: [],
    slow: [],
    nothing: [],
    flip: ["boolean"],
    big: [],
    circle: [],
    oddCode: [],
    oddStatus: [],
  };

  greet({ name }) {
    return `Hello ${name}`;
  }

  sum(numbers) {
    return numbers.reduce((sum, number) => sum + number, 0);
  }

  refuse() {
    throw new Refusal("not_today", "come again tomorrow", 423);
  }

  break() {
    throw new Error("the password of the database is sesame");
  }

  async slow() {
    await new Promise((resolve) => setTimeout(resolve, 300));
    return "done";
  }

  nothing() {}

  flip(value) {
    return !value;
  }

  big() {
    return { id: 1n };
  }

  circle() {
    const circle = {};
    return Object.assign(circle, { circle });
  }

  oddCode() {
    throw new Refusal(1n, "its code is no text");
  }

  oddStatus() {
    throw new Refusal("done", "its status is none of an error", 200);
  }

  _hidden() {
    return "for the class alone";
  }

  #closed() {
    return this.#closed;
  }
}

async function started(t) {
  const said = [];
  const served = serve({ greeter: new Greeter() }, { log: (line) => said.push(line) });
  await new Promise((resolve) => served.server.listen(0, "127.0.0.1", resolve));
  after(t, () => served.close());
  return { served, said, origin: `http://127.0.0.1:${served.server.address().port}` };
}

const JSON_TYPE = { "content-type": "application/json" };

async function post(url, body, headers = JSON_TYPE) {
  const answer = await fetch(url, { method: "POST", headers, body });
  return { status: answer.status, ...(await answer.json()) };
}

test("a method is called with the arguments of the array", async (t) => {
  const { origin } = await started(t);
  const greeted = await call(origin, "greeter/greet", [{ name: "Aladdin" }]);
  assert.deepEqual(greeted, { status: 200, result: "Hello Aladdin" });
  assert.deepEqual(await call(origin, "greeter/greet", [{ name: "A", age: 3 }]), { status: 200, result: "Hello A" });
  assert.deepEqual(await call(origin, "greeter/sum", [[1, 2.5]]), { status: 200, result: 3.5 });
  assert.deepEqual(await call(origin, "greeter/flip", [true]), { status: 200, result: false });
  assert.deepEqual(await call(origin, "greeter/nothing", []), { status: 200, result: null });
  const type = { "content-type": "Application/JSON; charset=utf-8" };
  assert.equal((await post(`${origin}/api/greeter/sum?x=1`, "[[]]", type)).result, 0);
  assert.equal((await fetch(`${origin}/healthz`)).status, 200);
});

test("what is not offered is not there", async (t) => {
  const { origin } = await started(t);
  const names = [
    "inherited", "_hidden", "%23closed", "constructor", "__proto__", "toString", "hasOwnProperty", "valueOf",
    "then", "events", "unknown", "Greet", "greet%00", "gr%65et",
  ];
  for (const name of names) {
    const { status, code } = await post(`${origin}/api/greeter/${name}`, "[]");
    assert.deepEqual([status, code], [404, "unknown_function"], name);
  }
  const paths = ["/api/other/greet", "/api/__proto__/greet", "/api/greeter", "/api/greeter/", "/api/greeter/greet/x"];
  for (const path of paths) {
    assert.deepEqual([path, (await post(origin + path, "[]")).code], [path, "unknown_service"]);
  }
});

test("arguments of another number or shape are refused", async (t) => {
  const { origin } = await started(t);
  const refused = {
    greet: [
      [], [{ name: "A" }, {}], [{}], [null], ["A"], [[]], [{ name: 1 }], [{ name: "A", age: 1.5 }],
      [{ name: "A", more: 1 }], [{ name: "A".repeat(1_001) }],
    ],
    sum: [[1], [["1"]], [{}], [Array(101).fill(1)]],
    flip: [["true"], [0], [null]],
  };
  for (const [name, calls] of Object.entries(refused)) {
    for (const args of calls) {
      const { status, code, message } = await call(origin, `greeter/${name}`, args);
      assert.deepEqual([status, code], [400, "bad_arguments"], JSON.stringify(args));
      assert.match(message, /argument/);
    }
  }
  const own = await post(`${origin}/api/greeter/greet`, '[{"name": "A", "__proto__": {"age": 1}}]');
  assert.equal(own.code, "bad_arguments");
  assert.equal((await post(`${origin}/api/greeter/greet`, '{"name": "A"}')).code, "bad_arguments");
});

test("a body must be JSON, say so, and be small", async (t) => {
  const { origin } = await started(t);
  const url = `${origin}/api/greeter/greet`;
  for (const body of ["", "[", "{'a': 1}", "undefined", Buffer.from([0x5b, 0x22, 0xff, 0x22, 0x5d])]) {
    assert.deepEqual([(await post(url, body)).status, (await post(url, body)).code], [400, "bad_json"]);
  }
  // What a form of a foreign page can send.
  for (const type of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"]) {
    const { status, code } = await post(url, '[{"name": "A"}]', { "content-type": type });
    assert.deepEqual([status, code], [415, "unsupported_media_type"], type);
  }
  for (const bytes of [64 * 1_024 + 1, 500_000, 20_000_000]) {
    const { status, code } = await overlong(url, bytes);
    assert.deepEqual([status, code], [413, "body_too_large"], `${bytes}`);
  }
  assert.equal((await post(url, `[{"name": "A"}]${" ".repeat(60_000)}`)).status, 200);
  assert.equal((await post(url, "[".repeat(60_000))).code, "bad_json");
  assert.equal((await post(url, "[".repeat(30_000) + "]".repeat(30_000))).code, "bad_arguments");
});

/** Sends a body without its length for as long as it is taken, and hears the answer meanwhile. */
function overlong(url, bytes) {
  return new Promise((resolve, reject) => {
    const request = rawRequest(url, { method: "POST", headers: JSON_TYPE });
    request.on("response", async (answer) => {
      let text = "";
      answer.on("error", () => {});
      answer.on("data", (more) => (text += more));
      answer.on("end", () => resolve({ status: answer.statusCode, ...JSON.parse(text) }));
    });
    // A server that has answered may end the connection.
    request.on("error", (error) => (["EPIPE", "ECONNRESET"].includes(error.code) ? undefined : reject(error)));
    const chunk = Buffer.alloc(32 * 1_024, " ");
    let left = bytes;
    const more = () => {
      if (left <= 0 || request.destroyed) return request.end();
      left -= chunk.length;
      request.write(chunk, more);
    };
    more();
  });
}

test("functions are called by POST alone", async (t) => {
  const { origin } = await started(t);
  for (const method of ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
    const answer = await fetch(`${origin}/api/greeter/greet`, { method });
    assert.deepEqual([answer.status, answer.headers.get("allow")], [405, "POST"], method);
    assert.equal(answer.headers.get("access-control-allow-origin"), null);
    assert.equal((await answer.json()).code, "method_not_allowed");
  }
});

test("a refusal is told, and any other error is not", async (t) => {
  const { origin, said } = await started(t);
  const refused = await call(origin, "greeter/refuse", []);
  assert.deepEqual(refused, { status: 423, code: "not_today", message: "come again tomorrow" });
  assert.equal(said.length, 0);
  const broken = await call(origin, "greeter/break", []);
  assert.deepEqual([broken.status, broken.code], [500, "internal"]);
  assert.doesNotMatch(JSON.stringify(broken), /sesame|service\.test/);
  assert.match(said[0], /sesame/);
});

test("a result or a refusal that cannot be sent is an error of the service, which goes on", async (t) => {
  const { origin, said } = await started(t);
  const broken = { big: /BigInt/, circle: /circular/, oddCode: /BigInt/, oddStatus: /not 200/ };
  for (const [name, line] of Object.entries(broken)) {
    const answer = await call(origin, `greeter/${name}`, []);
    assert.deepEqual([answer.status, answer.code], [500, "internal"], name);
    assert.match(said.at(-1), line);
  }
  assert.equal((await call(origin, "greeter/sum", [[1]])).result, 1);
  for (const status of [99, 200, 399, 600, 404.5, "404", NaN]) {
    assert.throws(() => new Refusal("code", "message", status), RangeError, `${status}`);
  }
  assert.deepEqual([400, 599].map((status) => new Refusal("code", "message", status).status), [400, 599]);
});

test("a declaration that cannot be kept stops the start", () => {
  const of = (functions, methods = {}) => {
    class Some {}
    Some.functions = functions;
    Object.assign(Some.prototype, methods);
    return () => serve({ some: new Some() });
  };
  for (const name of ["missing", "toString", "constructor", "_x"]) {
    assert.throws(of({ [name]: [] }), /cannot be offered/);
  }
  assert.throws(of({ on: [] }, { on() {} }), /cannot be offered/);
  assert.throws(of({ go: ["text"] }, { go() {} }), /no shape/);
  assert.throws(of({}, { forgotten() {} }), /declared nowhere/);
});

test("an end in order waits for no request that does not come in", { timeout: 30_000 }, async (t) => {
  const { origin, served } = await started(t);
  const { port } = new URL(origin);
  // One of which nothing has come, and one of which a part has.
  for (const text of ["", "POST /api/greeter/sum HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n["]) {
    const socket = connect(Number(port), "127.0.0.1");
    after(t, () => socket.destroy());
    socket.on("error", () => {});
    const isTaken = new Promise((resolve) => served.server.once("connection", resolve));
    socket.write(text);
    await isTaken;
  }
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const closed = served.close();
  t.mock.timers.tick(30_000);
  t.mock.timers.reset();
  await closed;
});

test("an end in order finishes what is under way and takes nothing new", async (t) => {
  const { origin, served } = await started(t);
  const slow = call(origin, "greeter/slow", []);
  await new Promise((resolve) => served.server.once("request", resolve));
  const closed = served.close();
  assert.deepEqual(await slow, { status: 200, result: "done" });
  await closed;
  await assert.rejects(call(origin, "greeter/sum", [[]]));
});
