// Makes what is pushed: dist/www from www, dist/server from server. The same sources always give the same files, so
// that a build without a change is the version that is live already.

import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

await rm(here("dist"), { recursive: true, force: true });
await mkdir(here("dist"));
await cp(here("www"), here("dist/www"), { recursive: true });
await cp(here("server"), here("dist/server"), { recursive: true });
// The sources are modules, and what is pushed must say so by itself: nothing above `dist/server` goes with it.
await writeFile(here("dist/server/package.json"), '{ "private": true, "type": "module" }\n');
console.log("dist/www and dist/server are ready for `devanture push`");
