// Makes what is pushed: dist/www from www, dist/server from server, each with its half of @devanture/service. The same
// sources always give the same files, so that a build without a change is the version that is live already.

import { existsSync } from "node:fs";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PACKAGE = "node_modules/@devanture/service";

await rm(here("dist"), { recursive: true, force: true });
await mkdir(here("dist"));
await cp(here("www"), here("dist/www"), { recursive: true });
await cp(here("server"), here("dist/server"), { recursive: true });
// The sources are modules, and what is pushed must say so by itself: nothing above `dist/server` goes with it.
await writeFile(here("dist/server/package.json"), '{ "private": true, "type": "module" }\n');

// As npm has installed it, or as it lies beside the examples.
const from = [here(PACKAGE), here("../../packages/service")].find((folder) => existsSync(folder));
if (!from) throw new Error("@devanture/service is not there: run `npm install`");
for (const name of ["package.json", ...JSON.parse(await readFile(`${from}/package.json`, "utf8")).files]) {
  if (!name.endsWith(".d.ts")) await cp(`${from}/${name}`, here(`dist/server/${PACKAGE}/${name}`));
}
for (const name of ["index.js", "client.js", "new_version.js"]) {
  await cp(`${from}/${name}`, here(`dist/www/service/${name}`));
}
console.log("dist/www and dist/server are ready for `devanture push`");
