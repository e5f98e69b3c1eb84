// The game as three real processes offer it, and as the browser's helper calls it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { service } from "../../../packages/service/index.js";
import { TinyWebSocket, after, call, eventually, folder, frame, rawSocket, startServer } from "./support.mjs";

const [GEORGES, ALADDIN] = [{ name: "Georgesdelajungle" }, { name: "Aladdin" }];

async function instances(t, count) {
  const env = { DEVANTURE_DATA: await folder(t), DEVANTURE_VERSION: "4f2a91bc03de" };
  const start = (_, at) => startServer(t, { ...env, DEVANTURE_INSTANCE: `web.${at + 1}` });
  return Promise.all(Array.from({ length: count }, start));
}

test("the story: a game is created, played over all instances, and won", async (t) => {
  const [one, two, three] = (await instances(t, 3)).map(({ origin }) => service("game", { origin }));
  await assert.rejects(one.isFinished(), { name: "ServiceError", code: "no_game", status: 409 });
  assert.equal(await one.getGame(), null);
  const begun = await one.createGame({ name: "Georgesdelajungle" }, { name: "Aladdin" });
  assert.deepEqual([begun.turn, begun.revision], ["Georgesdelajungle", 1]);
  await two.gameAction("Georgesdelajungle", "place", [0]);
  await three.gameAction("Aladdin", "place", [4]);
  await assert.rejects(one.gameAction("Aladdin", "place", [5]), { code: "not_your_turn" });
  await assert.rejects(one.createGame(GEORGES, ALADDIN), { code: "game_under_way" });
  await two.gameAction("Georgesdelajungle", "place", [1]);
  await three.gameAction("Aladdin", "place", [5]);
  assert.deepEqual([await one.isFinished(), await one.getWinner()], [false, null]);
  await two.gameAction("Georgesdelajungle", "place", [2]);
  assert.deepEqual([await three.isFinished(), await three.getWinner()], [true, "Georgesdelajungle"]);
  assert.equal((await one.endGame()).winner, "Georgesdelajungle");
  assert.equal((await two.createGame(GEORGES, ALADDIN)).id, 2);
  assert.equal((await three.endGame()).finished, true);
  assert.deepEqual(await two.about(), { version: "4f2a91bc03de", instance: "web.2" });
});

test("of many who want the same cell through three instances one gets it", async (t) => {
  const servers = await instances(t, 3);
  await call(servers[0].origin, "game/createGame", [GEORGES, ALADDIN]);
  for (let move = 0; move < 5; move++) {
    const player = [GEORGES, ALADDIN][move % 2].name;
    const cell = [0, 4, 1, 5, 2][move];
    const attempt = (_, at) => call(servers[at % 3].origin, "game/gameAction", [player, "place", [cell]]);
    const answers = await Promise.all(Array.from({ length: 12 }, attempt));
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
    const codes = new Set(answers.filter(({ status }) => status !== 200).map(({ code }) => code));
    codes.forEach((code) => assert.ok(["cell_taken", "not_your_turn", "game_over"].includes(code), code));
  }
  assert.equal((await call(servers[2].origin, "game/getWinner", [])).result, GEORGES.name);
});

test("a game goes on when all its processes were killed", async (t) => {
  const env = { DEVANTURE_DATA: await folder(t) };
  const first = await startServer(t, env);
  await call(first.origin, "game/createGame", [GEORGES, ALADDIN]);
  await call(first.origin, "game/gameAction", [GEORGES.name, "place", [8]]);
  first.child.kill("SIGKILL");
  await first.ended;
  const second = await startServer(t, env);
  const { result } = await call(second.origin, "game/gameAction", [ALADDIN.name, "place", [0]]);
  assert.deepEqual([result.board[8], result.board[0], result.turn], [0, 1, GEORGES.name]);
});

test("a browser that is cut off connects again, subscribes again, and is told", async (t) => {
  const env = { DEVANTURE_DATA: await folder(t) };
  const servers = [await startServer(t, env), await startServer(t, env)];
  // As an edge does: to whoever is there.
  let current = servers[0].origin;
  class Switched extends TinyWebSocket {
    constructor(url) {
      super(url.replace(/^ws:\/\/[^/]+/, current.replace("http", "ws")));
    }
  }
  const game = service("game", { origin: "http://game.localhost", WebSocket: Switched });
  after(t, () => game.close());
  const seen = [];
  game.on("connected", () => seen.push("connected"));
  game.on("disconnected", () => seen.push("disconnected"));
  game.on("changed", () => {
    throw new Error("a handler that fails");
  });
  const stop = game.on("changed", ({ revision }) => seen.push(revision));
  const report = t.mock.method(console, "error", () => {});
  await eventually(() => seen.includes("connected"));
  await call(servers[0].origin, "game/createGame", [GEORGES, ALADDIN]);
  await eventually(() => seen.includes(1));
  assert.equal(report.mock.callCount(), 1);
  assert.equal(TinyWebSocket.opened, 1, "one connection for all handlers");

  current = servers[1].origin;
  servers[0].child.kill("SIGTERM");
  await eventually(() => seen.filter((what) => what === "connected").length === 2);
  await call(servers[1].origin, "game/gameAction", [GEORGES.name, "place", [4]]);
  await eventually(() => seen.includes(2));
  assert.deepEqual(seen, ["connected", 1, "disconnected", "connected", 2]);

  // Killed, and nobody there for a while.
  servers[1].child.kill("SIGKILL");
  await eventually(() => TinyWebSocket.opened >= 4);
  current = (await startServer(t, env)).origin;
  await eventually(() => seen.filter((what) => what === "connected").length === 3);
  stop();
  await call(current, "game/gameAction", [ALADDIN.name, "place", [0]]);
  await eventually(() => report.mock.callCount() === 3);
  assert.ok(!seen.includes(3));
});

const subscription = (...events) => frame(1, JSON.stringify({ subscribe: events }));

test("a process that gets SIGTERM closes its sockets with 1001, and itself with 0", async (t) => {
  const server = await startServer(t, { DEVANTURE_DATA: await folder(t) });
  const socket = await rawSocket(t, server.origin);
  socket.send(subscription("changed"));
  await socket.next();
  server.child.kill("SIGTERM");
  assert.equal((await socket.next()).code, 1001);
  // One that does not end its side is not waited for.
  assert.deepEqual(await server.ended, [0, null]);
});

test("an event reaches the sockets of the other instances", async (t) => {
  const env = { DEVANTURE_DATA: await folder(t) };
  const servers = await Promise.all([1, 2, 3].map((at) => startServer(t, { ...env, DEVANTURE_INSTANCE: `web.${at}` })));
  const sockets = await Promise.all(servers.map(({ origin }) => rawSocket(t, origin)));
  for (const socket of sockets) {
    socket.send(subscription("changed"));
    await socket.next();
  }
  const players = [{ name: "Georgesdelajungle" }, { name: "Aladdin" }];
  const { result } = await call(servers[0].origin, "game/createGame", players);
  for (const socket of sockets) {
    assert.deepEqual(JSON.parse((await socket.next()).text), { event: "changed", data: result });
  }
});
