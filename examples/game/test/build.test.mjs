// What `npm run build` makes, and what the README says of it.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, readFile, readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { call, folder, startServer } from "./support.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

async function built(t) {
  const copy = await folder(t);
  for (const name of ["www", "server", "build.mjs", "package.json"]) {
    await cp(here(`../${name}`), join(copy, name), { recursive: true });
  }
  // As `npm install` has it.
  await cp(here("../../../packages/service"), join(copy, "node_modules/@devanture/service"), { recursive: true });
  await promisify(execFile)(process.execPath, ["build.mjs"], { cwd: copy });
  return copy;
}

async function content(path) {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  return Promise.all(files.sort().map(async (file) => [relative(path, file), await readFile(file, "utf8")]));
}

test("two builds of the same sources are the same", async (t) => {
  const [one, other] = [await built(t), await built(t)];
  for (const part of ["dist/www", "dist/server"]) {
    const files = await content(join(one, part));
    assert.ok(files.length >= 7, `${files.length}`);
    assert.deepEqual(files, await content(join(other, part)));
  }
});

test("what is pushed of the backend runs by itself, on a port or on a socket", async (t) => {
  const [project, alone] = [await built(t), await folder(t)];
  await cp(join(project, "dist/server"), alone, { recursive: true });
  const file = join(alone, "server.js");
  const { origin } = await startServer(t, { DEVANTURE_DATA: await folder(t) }, file);
  assert.deepEqual(await call(origin, "game/getGame", []), { status: 200, result: null });
  const socket = join(await folder(t), "http.sock");
  const other = await startServer(t, { DEVANTURE_DATA: await folder(t), SOCKET: socket }, file);
  assert.equal(other.place, socket);
});

test("the README shows devanture.toml as it is", async () => {
  const readme = await readFile(here("../README.md"), "utf8");
  const shown = readme.split("<!-- file: devanture.toml -->\n```toml\n")[1].split("```")[0];
  assert.equal(shown, await readFile(here("../devanture.toml"), "utf8"));
});
