// Which program is run, and what is said where there is none. tools/check-npm tries whole installations.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const require = createRequire(import.meta.url);
const { find, Missing, notStarted } = require("../run.js");
const platforms = require("../platforms.json");

const resolve = (name) => `/node_modules/${name}`;

test("each platform has its program in a package of its own", () => {
  for (const [key, { os, cpu }] of Object.entries(platforms)) {
    assert.equal(key, `${os}-${cpu}`);
    const name = os === "win32" ? "devanture.exe" : "devanture";
    assert.equal(find(os, cpu, resolve), join("/node_modules/@devanture", key, "bin", name));
  }
});

test("a platform without a program is named, with those that have one", () => {
  for (const [platform, arch] of [["freebsd", "x64"], ["linux", "riscv64"], ["constructor", "x"]]) {
    assert.throws(() => find(platform, arch, resolve), (error) => {
      assert.ok(error instanceof Missing);
      assert.match(error.message, new RegExp(`${platform}-${arch}`));
      assert.match(error.message, /Apple silicon.*cargo build/s);
      return true;
    });
  }
});

test("a package that was left out is named, with what installs it", () => {
  const nothing = () => {
    throw new Error("MODULE_NOT_FOUND");
  };
  assert.throws(() => find("linux", "x64", nothing), /@devanture\/linux-x64.*--no-optional.*--omit=optional/s);
});

test("a program that cannot be started says why", () => {
  assert.match(notStarted("/p", { code: "EACCES" }), /permissions/);
  assert.match(notStarted("/p", { code: "ENOENT" }), /glibc/);
  assert.match(notStarted("/p", { code: "EMFILE", message: "too many" }), /too many/);
});

test("an error that Node throws at a start ends as one that it emits", { skip: process.platform !== "linux" }, () => {
  const folder = mkdtempSync(join(tmpdir(), "devanture-"));
  try {
    const installed = join(folder, "@devanture", `${process.platform}-${process.arch}`);
    mkdirSync(join(installed, "bin"), { recursive: true });
    writeFileSync(join(installed, "package.json"), "{}");
    writeFileSync(join(installed, "bin", "devanture"), "#!/bin/sh\n", { mode: 0o755 });
    // No system takes an argument of so many bytes.
    const script = `require(${JSON.stringify(require.resolve("../run.js"))}).run(["x".repeat(1 << 24)])`;
    const ran = spawnSync(process.execPath, ["-e", script], { env: { NODE_PATH: folder }, encoding: "utf8" });
    assert.equal(ran.status, 2);
    assert.match(ran.stderr, /^devanture: .* cannot be run: .*E2BIG\.\n$/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
