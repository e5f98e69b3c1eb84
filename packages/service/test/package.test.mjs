// What npm would publish.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

const here = fileURLToPath(new URL("..", import.meta.url));
const text = (name) => readFile(`${here}/${name}`, "utf8");
/** What a page loads, by gzip; the README says so. */
const PAGE_BYTES_MAX = 5_000;

test("the package holds its sources and types, and depends on nothing", async () => {
  const npm = promisify(execFile)("npm", ["pack", "--dry-run", "--json"], { cwd: here });
  const [{ files }] = JSON.parse((await npm).stdout);
  const names = files.map(({ path }) => path).sort();
  assert.deepEqual(names, [
    "README.md", "client.js", "index.d.ts", "index.js", "new_version.js", "package.json", "server.d.ts", "server.js",
    "shapes.js", "websocket.js",
  ]);
  const { dependencies, peerDependencies } = JSON.parse(await text("package.json"));
  assert.deepEqual([dependencies, peerDependencies], [undefined, undefined]);
});

test("a page imports nothing of Node's, and little at all", async () => {
  const page = ["index.js", "client.js", "new_version.js"];
  const sources = await Promise.all(page.map(text));
  const imported = sources.join("\n").match(/from "[^"]+"/g);
  assert.deepEqual(imported, ['from "./client.js"', 'from "./new_version.js"']);
  const bytes = sources.reduce((sum, source) => sum + gzipSync(source).length, 0);
  assert.ok(bytes < PAGE_BYTES_MAX, `${bytes} bytes`);
});

test("what is exported has a type", async () => {
  for (const [source, types] of [["index.js", "index.d.ts"], ["server.js", "server.d.ts"]]) {
    const module = await import(`../${source}`);
    const declared = [...(await text(types)).matchAll(/^export (?:function|class) (\w+)/gm)].map(([, name]) => name);
    assert.deepEqual([...new Set(declared)].sort(), Object.keys(module).sort(), types);
  }
});
