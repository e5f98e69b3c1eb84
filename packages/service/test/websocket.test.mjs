// The WebSocket, frame by frame.

import assert from "node:assert/strict";
import { test } from "node:test";
import { serve } from "../server.js";
import { after, frame, rawSocket } from "./support.mjs";

class Clock {
  static functions = {};
  static events = ["tick", "tock"];
}

async function started(t) {
  const served = serve({ game: new Clock(), mute: new (class {})() });
  await new Promise((resolve) => served.server.listen(0, "127.0.0.1", resolve));
  after(t, () => served.close());
  return { served, origin: `http://127.0.0.1:${served.server.address().port}` };
}

const [TEXT, BINARY, CLOSE, PING, PONG] = [1, 2, 8, 9, 10];
const subscription = (...events) => frame(TEXT, JSON.stringify({ subscribe: events }));

test("the handshake is answered with the proof of the RFC's own example", async (t) => {
  const { origin } = await started(t);
  const { head } = await rawSocket(t, origin);
  assert.match(head, /^HTTP\/1\.1 101 /);
  assert.match(head, /sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/);
});

test("a handshake of another form or of a foreign page is refused", async (t) => {
  const { origin } = await started(t);
  const refused = [
    [403, { origin: "https://evil.example" }],
    [403, { origin: "null" }],
    [403, { origin: "http://127.0.0.1:1" }],
    [426, { "sec-websocket-version": "8" }],
    [400, { "sec-websocket-key": "short" }],
    [400, { "sec-websocket-key": undefined }],
    [400, { upgrade: "h2c" }],
  ];
  for (const [status, headers] of refused) {
    const { head, ended } = await rawSocket(t, origin, { headers });
    assert.match(head, new RegExp(`^HTTP/1.1 ${status} `), JSON.stringify(headers));
    await ended();
  }
  for (const path of ["/api/mute/tick", "/api/unknown/events", "/healthz"]) {
    assert.match((await rawSocket(t, origin, { path })).head, /^HTTP\/1\.1 404 /, path);
  }
  const own = { host: "game.example", origin: "https://game.example:443" };
  assert.match((await rawSocket(t, origin, { headers: own })).head, / 101 /);
  assert.equal((await fetch(`${origin}/api/game/events`)).status, 426);
});

test("a refused handshake of a client that does not end its connection holds up no end in order", async (t) => {
  const { origin, served } = await started(t);
  for (const [path, headers] of [["/api/unknown/events", {}], ["/api/game/events", { origin: "https://evil.example" }]]) {
    const { head } = await rawSocket(t, origin, { path, headers, allowHalfOpen: true });
    assert.match(head, /^HTTP\/1\.1 40[34] /);
  }
  await served.close();
});

test("who has subscribed hears the event, and no other", async (t) => {
  const { origin, served } = await started(t);
  const [one, other] = [await rawSocket(t, origin), await rawSocket(t, origin)];
  one.send(subscription("tick"));
  other.send(subscription("tock"));
  assert.equal((await one.next()).text, '{"subscribed":["tick"]}');
  assert.equal((await other.next()).text, '{"subscribed":["tock"]}');
  served.emit("game", "tick", { at: "1".repeat(200) });
  served.emit("game", "tock", 2);
  served.emit("mute", "tick", 3);
  assert.deepEqual(JSON.parse((await one.next()).text), { event: "tick", data: { at: "1".repeat(200) } });
  assert.deepEqual(JSON.parse((await other.next()).text), { event: "tock", data: 2 });
  one.send(subscription("tick", "tock"));
  assert.equal((await one.next()).text, '{"subscribed":["tick","tock"]}');
});

test("a ping is answered with its own words, in whatever pieces it comes", async (t) => {
  const { origin } = await started(t);
  const socket = await rawSocket(t, origin, { first: frame(PING, "with the handshake") });
  assert.deepEqual(await socket.next(), { kind: PONG, text: "with the handshake", code: undefined });
  for (const byte of frame(PING, "byte by byte")) {
    socket.send(Buffer.from([byte]));
    await new Promise(setImmediate);
  }
  assert.equal((await socket.next()).text, "byte by byte");
  socket.send(frame(PING, "1"), frame(PONG, "unasked"), frame(PING, "2"));
  assert.deepEqual([(await socket.next()).text, (await socket.next()).text], ["1", "2"]);
});

test("what breaks the protocol ends the connection with the code for it", async (t) => {
  const { origin } = await started(t);
  const close = (code) => frame(CLOSE, Buffer.from([code >> 8, code & 255]));
  const cases = [
    ["an unmasked frame", 1002, frame(TEXT, "x", { isMasked: false })],
    ["reserved bits", 1002, frame(TEXT, "x", { change: (bytes) => (bytes[0] |= 0x40) })],
    ["an unknown kind", 1002, frame(11, "x")],
    ["nothing to continue", 1002, frame(0, "x")],
    ["a ping in pieces", 1002, frame(PING, "x", { isLast: false })],
    ["a long ping", 1002, frame(PING, "x".repeat(126))],
    ["a message in pieces", 1003, frame(TEXT, "x", { isLast: false })],
    ["a binary message", 1003, frame(BINARY, "x")],
    ["a length longer than it need be", 1002, Buffer.from([0x81, 0xfe, 0, 1, 0, 0, 0, 0, 120])],
    ["a message of 64 KiB and one byte", 1009, frame(TEXT, "x".repeat(65_537))],
    ["the promise of a huge message", 1009, Buffer.from([0x81, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255])],
    ["what is not UTF-8", 1007, frame(TEXT, Buffer.from([0xff]))],
    ["what is not JSON", 1008, frame(TEXT, "tick")],
    ["an event that there is not", 1008, subscription("boom")],
    ["a subscription of another form", 1008, frame(TEXT, "null")],
    ["an end without a code", 1000, frame(CLOSE)],
    ["an end with a code", 1001, close(1001)],
    ["an end with a code of one's own", 4321, close(4321)],
    ["an end with a code that is never sent", 1002, close(1005)],
    ["an end with half a code", 1002, frame(CLOSE, "x")],
    ["an end whose reason is not UTF-8", 1007, frame(CLOSE, Buffer.from([3, 232, 0xff]))],
  ];
  for (const [what, code, bytes] of cases) {
    const socket = await rawSocket(t, origin);
    socket.send(bytes);
    const end = await socket.next();
    assert.deepEqual([end.kind, end.code], [CLOSE, code], what);
    socket.socket.end();
    await socket.ended();
  }
});
