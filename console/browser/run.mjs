// Runs each file of tests in a process of its own, two at a time, and one that fails a second time.
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const AT_ONCE = 2;
/** A file that hangs is ended; each takes a fraction of this. */
const FILE_MS_MAX = 10 * 60_000;

const folder = fileURLToPath(new URL("./", import.meta.url));
const chosen = process.argv.slice(2);
const files = fs
  .readdirSync(folder)
  .filter((name) => name.endsWith(".test.mjs") && (chosen.length === 0 || chosen.some((part) => name.includes(part))))
  .sort();

function once(name) {
  return new Promise((resolve) => {
    let output = "";
    const start = Date.now();
    const child = spawn(process.execPath, ["--test-reporter=spec", "--test", path.join(folder, name)], {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const timer = setTimeout(() => process.kill(-child.pid, "SIGKILL"), FILE_MS_MAX);
    child.stdout.on("data", (piece) => (output += piece));
    child.stderr.on("data", (piece) => (output += piece));
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ passed: code === 0, output, seconds: Math.round((Date.now() - start) / 1000) });
    });
  });
}

async function file(name) {
  for (const attempt of [1, 2]) {
    const { passed, output, seconds } = await once(name);
    console.log(`${passed ? "ok  " : "FAIL"} ${name} (${seconds} s)${attempt === 2 ? ", the second time" : ""}`);
    if (passed) return true;
    console.log(output);
  }
  return false;
}

const waiting = [...files];
let failed = files.length === 0 ? 1 : 0;
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    for (let name = waiting.shift(); name; name = waiting.shift()) if (!(await file(name))) failed += 1;
  }),
);
console.log(`${files.length} files, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
