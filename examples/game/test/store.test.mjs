// The store: several real processes, one of them killed in the middle.

import assert from "node:assert/strict";
import { readdir, utimes } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Store } from "../dist/server/store.js";
import { after, eventually, folder, start } from "./support.mjs";

const WORKER = fileURLToPath(new URL("store_worker.mjs", import.meta.url));

async function workers(t, path, count) {
  const all = Array.from({ length: count }, () => start(t, WORKER, { args: [path] }));
  await Promise.all(all.map((worker) => worker.line(/^ready$/)));
  return all;
}

const kept = (worker) => worker.lines.filter((line) => line.startsWith("kept ")).map((line) => Number(line.slice(5)));
const sorted = (numbers) => [...numbers].sort((a, b) => a - b);

test("of 501 changes that three processes make at once none is lost and none is made twice", async (t) => {
  const path = await folder(t);
  const all = await workers(t, path, 3);
  all.forEach(({ child }, at) => child.stdin.write(`${at * 1_000} 167\n`));
  await Promise.all(all.map((worker) => eventually(() => kept(worker).length === 167)));
  const { number, value } = await new Store(path).read();
  assert.equal(number, 501);
  assert.deepEqual(sorted(value), sorted(all.flatMap(kept)));
  // In the order in which each process made its own.
  for (const [at, worker] of all.entries()) {
    assert.deepEqual(value.filter((one) => Math.floor(one / 1_000) === at), kept(worker));
  }
});

test("a process that is killed in the middle holds nobody up, and what it had kept stays", async (t) => {
  const path = await folder(t);
  const all = await workers(t, path, 3);
  all.forEach(({ child }, at) => child.stdin.write(`${at * 1_000} 150\n`));
  const [victim, ...others] = all;
  await eventually(() => kept(victim).length >= 20);
  victim.child.kill("SIGKILL");
  await victim.ended;
  await Promise.all(others.map((worker) => eventually(() => kept(worker).length === 150)));
  const { value } = await new Store(path).read();
  assert.equal(new Set(value).size, value.length, "nothing is there twice");
  for (const number of all.flatMap(kept)) assert.ok(value.includes(number), `${number} was kept`);
  // The one that was under way may be there or not.
  const of = value.filter((one) => one < 1_000).length;
  assert.ok(of === kept(victim).length || of === kept(victim).length + 1, `${of} and ${kept(victim).length}`);
});

test("a step that refuses changes nothing, and a later one goes on", async (t) => {
  const store = await new Store(await folder(t)).open();
  const no = () => {
    throw new Error("no");
  };
  const changes = [store.change(() => 1), store.change(no), store.change((n) => n + 1)];
  const [first, refused, second] = await Promise.allSettled(changes);
  assert.deepEqual([first.value.value, refused.reason.message, second.value.value], [1, "no", 2]);
  assert.equal((await store.read()).number, 2);
});

test("a watcher hears of another process's change", async (t) => {
  const path = await folder(t);
  const store = await new Store(path).open();
  await store.change(() => []);
  const heard = [];
  after(t, store.watch((state) => heard.push(state)));
  const [worker] = await workers(t, path, 1);
  worker.child.stdin.write("7 1\n");
  await eventually(() => heard.at(-1)?.value.includes(7));
  assert.ok(heard.every(({ number }) => number > 0));
});

test("old states go, the newest stay, and one who slept meanwhile finds the newest", async (t) => {
  const path = await folder(t);
  const [store, sleeper] = [await new Store(path).open(), new Store(path)];
  const add = (n = 0) => n + 1;
  await store.change(add);
  assert.equal((await sleeper.read()).value, 1);
  for (let at = 2; at < 200; at++) await store.change(add);
  assert.equal((await readdir(path)).length, 199, "all are young");
  const past = new Date(Date.now() - 3_600_000);
  for (const name of await readdir(path)) await utimes(join(path, name), past, past);
  await store.change(add);
  const left = (await readdir(path)).sort();
  assert.deepEqual([left.length, left[0], left.at(-1)], [100, "000000000101.json", "000000000200.json"]);
  assert.deepEqual(await sleeper.read(), { number: 200, value: 200 });
  assert.deepEqual(await sleeper.change(add), { number: 201, value: 201 });
});
