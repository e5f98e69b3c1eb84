// A process of the store's test: adds numbers to the list in the store, as many at once as it is told.
//
// For each line `FIRST COUNT` on its input it adds COUNT numbers from FIRST on, and says `kept N` once N is there.

import { createInterface } from "node:readline";
import { Store } from "../dist/server/store.js";

const store = await new Store(process.argv[2]).open();
console.log("ready");
createInterface({ input: process.stdin }).on("line", (line) => {
  const [first, count] = line.split(" ").map(Number);
  for (let number = first; number < first + count; number++) {
    store.change((list = []) => [...list, number]).then(() => console.log(`kept ${number}`));
  }
});
