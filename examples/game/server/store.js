// One value in a folder that several processes share, changed by one after the other without a lock.
//
// Each state of the value is a file of its own, `000000000042.json`; the one with the greatest number counts. A change
// reads that, writes the next state beside it under a name that nobody knows, and links it to the next number. The
// system lets one process only make that link: who comes second reads again, and decides again. A process that is
// killed, at whatever instruction, leaves the state before or the state after, and never a lock that nobody holds.
// The folder must be on a file system of this machine, or another one on which a link is made by one process only.

import { watch } from "node:fs";
import { link, mkdir, open, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";

/** The newest states always stay, */
const STATES_KEPT = 100;
/** and any state for so long: far longer than a change may take, so that no number is ever given a second time. */
const STATE_KEPT_MS = 10 * 60_000;
const CHANGE_MS_MAX = 30_000;
/** How often the folder is looked at where the system tells of no change. */
const LOOK_EVERY_MS = 500;

const DIGITS = 12;
const FORM = new RegExp(`^\\d{${DIGITS}}\\.json$`);

export class Store {
  #folder;
  #newest = 0;
  #last = Promise.resolve();
  #written = 0;

  constructor(folder) {
    this.#folder = folder;
  }

  /** Makes the folder if it is not there. */
  async open() {
    await mkdir(this.#folder, { recursive: true });
    return this;
  }

  /** The value and its number; number 0 and no value where there is none yet. */
  async read() {
    for (;;) {
      let number = this.#newest || (await this.#scan());
      if (number === 0) return { number, value: undefined };
      // The next one is looked for before this one is read: old states go in their order, so that this one would be
      // missing too if the next had been there and was removed.
      while (await isThere(this.#path(number + 1))) number += 1;
      try {
        const value = JSON.parse(await readFile(this.#path(number), "utf8"));
        this.#newest = number;
        return { number, value };
      } catch (error) {
        if (error.code !== "ENOENT") throw error;
        // This process has looked last so long ago that what it knew has been removed.
        this.#newest = 0;
      }
    }
  }

  /**
   * Changes the value by `step(value)`, which gives the next one, or throws, and then nothing changes. It may be called
   * again, with another value, if another process was first. Resolves to the new number and value, once they are on the
   * disk.
   */
  change(step) {
    // The changes of one process wait for each other here, so that it competes with the others only.
    const done = this.#last.then(() => this.#change(step));
    this.#last = done.catch(() => {});
    return done;
  }

  async #change(step) {
    const begun = Date.now();
    for (;;) {
      const { number, value } = await this.read();
      const next = { number: number + 1, value: step(value) };
      const draft = join(this.#folder, `.draft-${process.pid}-${begun}-${(this.#written += 1)}`);
      try {
        await writeDurably(draft, JSON.stringify(next.value));
        if (Date.now() - begun > CHANGE_MS_MAX) throw new Error("the change has taken too long");
        await link(draft, this.#path(next.number));
      } catch (error) {
        if (error.code === "EEXIST") continue;
        throw error;
      } finally {
        await rm(draft, { force: true });
      }
      await sync(this.#folder);
      this.#newest = next.number;
      if (next.number % STATES_KEPT === 0) await this.#collect();
      return next;
    }
  }

  /** Calls `handler` with the number and the value after each change, whoever has made it. Gives what ends that. */
  watch(handler) {
    let [told, looking, again, ended] = [-1, false, false, false];
    const look = async () => {
      again = looking;
      if (looking || ended) return;
      looking = true;
      try {
        const state = await this.read();
        if (told >= 0 && state.number > told && !ended) handler(state);
        told = Math.max(told, state.number);
      } catch (error) {
        console.error(`the store cannot be read: ${error.message}`);
      } finally {
        looking = false;
      }
      if (again) look();
    };
    const timer = setInterval(look, LOOK_EVERY_MS);
    let watcher;
    try {
      watcher = watch(this.#folder, look);
      // Where the system cannot watch, or no longer, the timer does alone.
      watcher.on("error", () => watcher.close());
    } catch {
      // As above.
    }
    look();
    return () => {
      ended = true;
      clearInterval(timer);
      watcher?.close();
    };
  }

  #path(number) {
    return join(this.#folder, `${String(number).padStart(DIGITS, "0")}.json`);
  }

  async #scan() {
    const names = (await readdir(this.#folder)).filter((name) => FORM.test(name));
    return Math.max(0, ...names.map((name) => Number.parseInt(name, 10)));
  }

  /** Removes old states, the oldest first: where a state is missing, all before it are. Drafts of the dead go too. */
  async #collect() {
    const names = (await readdir(this.#folder)).sort();
    const states = names.filter((name) => FORM.test(name)).slice(0, -STATES_KEPT);
    for (const name of [...names.filter((name) => name.startsWith(".draft-")), ...states]) {
      const path = join(this.#folder, name);
      const made = await stat(path).catch(() => undefined);
      if (made && Date.now() - made.mtimeMs < STATE_KEPT_MS) {
        if (FORM.test(name)) return;
        continue;
      }
      await rm(path, { force: true });
    }
  }
}

async function isThere(path) {
  return stat(path).then(() => true, (error) => {
    if (error.code === "ENOENT") return false;
    throw error;
  });
}

async function writeDurably(path, text) {
  const file = await open(path, "wx");
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function sync(folder) {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
