// Holds what a first visit loads to its limit: the page, its style, its script, and what these load at once.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants } from "node:zlib";

const BYTES_MAX = 45_000;
const dist = fileURLToPath(new URL("./dist/", import.meta.url));

const page = fs.readFileSync(path.join(dist, "index.html"), "utf8");
const named = [...page.matchAll(/(?:src|href)="\/console\/([^"]+)"/g)].map((found) => found[1]);
const files = ["index.html", ...new Set(named)];
let sum = 0;
for (const name of files) {
  const bytes = fs.readFileSync(path.join(dist, name));
  const size = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } }).length;
  console.log(`${String(size).padStart(7)}  ${name}`);
  sum += size;
}
console.log(`${String(sum).padStart(7)}  of ${BYTES_MAX} bytes, by brotli`);
process.exit(sum <= BYTES_MAX && files.length > 3 ? 0 : 1);
