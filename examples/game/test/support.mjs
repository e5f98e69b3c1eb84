// What the tests share with those of the package, and how the game's backend starts.

import { fileURLToPath } from "node:url";
import { start } from "../../../packages/service/test/support.mjs";

export * from "../../../packages/service/test/support.mjs";

const BUILT = fileURLToPath(new URL("../dist/server/server.js", import.meta.url));

/** Starts the backend on a port of its own, or on the socket of `env`; where it is, as `http://…` or as a path. */
export async function startServer(t, env, file = BUILT) {
  const started = start(t, file, { env: { PORT: "0", ...env } });
  const place = (await started.line(/ listens on /)).split(" listens on ")[1];
  return { ...started, place, origin: `http://127.0.0.1:${place}` };
}

