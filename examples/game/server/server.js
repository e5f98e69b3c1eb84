// The backend: one process of the several that an edge runs. It is told by its environment
//
//   PORT or SOCKET       where to listen: a port of 127.0.0.1, or the path of a Unix socket
//   DEVANTURE_DATA       the folder that all instances share and that stays through releases (else: data)
//   DEVANTURE_VERSION    which release this is
//   DEVANTURE_INSTANCE   which of its instances, such as web.2
//
// and by SIGTERM to finish what is under way and to end.

import { join } from "node:path";
import { Game, view } from "./game.js";
import { serve } from "@devanture/service/server";
import { Store } from "./store.js";

const { PORT = "3000", SOCKET, DEVANTURE_DATA = "data", DEVANTURE_VERSION, DEVANTURE_INSTANCE } = process.env;
const release = { version: DEVANTURE_VERSION ?? "unreleased", instance: DEVANTURE_INSTANCE ?? "web" };

const store = await new Store(join(DEVANTURE_DATA, "game")).open();
const served = serve({ game: new Game(store, release) });
const unwatch = store.watch((state) => served.emit("game", "changed", view(state)));

served.server.on("error", (error) => {
  console.error(`cannot listen: ${error.message}`);
  process.exit(1);
});
const place = SOCKET ? { path: SOCKET } : { port: Number(PORT), host: "127.0.0.1" };
served.server.listen(place, () => {
  const address = served.server.address();
  console.log(`${release.instance} of ${release.version} listens on ${address.port ?? address}`);
});

let ending = false;
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, async () => {
    if (ending) return;
    ending = true;
    unwatch();
    await served.close();
    console.log(`${release.instance} of ${release.version} has ended`);
    process.exit(0);
  });
}
