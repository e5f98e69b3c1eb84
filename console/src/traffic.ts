// Traffic of environments for lists and cards: loaded for what is in sight, a few at a time, and kept for a while.
import { signal, type Signal } from "@preact/signals";
import type { Traffic } from "./api.ts";
import { call, placePath } from "./client.ts";

const AT_ONCE_MAX = 4;
const FRESH_MS = 30_000;
const KEPT_MAX = 500;
/** The span of a small line beside a name. */
export const LAST_MS = 60 * 60 * 1000;

interface Kept {
  value: Signal<Traffic | null>;
  at: number;
}

const kept = new Map<string, Kept>();
const waiting: (() => Promise<void>)[] = [];
let running = 0;

export function loadTraffic(app: string, env: string, from: number, until: number, signal?: AbortSignal): Promise<Traffic> {
  const query = { from: Math.floor(from), to: Math.floor(until) };
  return call("GET", placePath(app, env, "traffic"), { query, ...(signal ? { signal } : {}) });
}

function next(): void {
  while (running < AT_ONCE_MAX) {
    // What came into sight last is what a person looks at.
    const task = waiting.pop();
    if (!task) return;
    running += 1;
    void task().finally(() => {
      running -= 1;
      next();
    });
  }
}

/** The traffic of the last hour; `null` until it is there, and where it cannot be had. */
export function lastHour(app: string, env: string): Signal<Traffic | null> {
  const key = `${app} ${env}`;
  const known = kept.get(key) ?? { value: signal<Traffic | null>(null), at: 0 };
  kept.delete(key);
  kept.set(key, known);
  if (Date.now() - known.at > FRESH_MS) {
    known.at = Date.now();
    waiting.push(async () => {
      try {
        known.value.value = await loadTraffic(app, env, Date.now() - LAST_MS, Date.now());
      } catch {
        // The list is complete without it.
      }
    });
    if (waiting.length > 64) waiting.shift();
    next();
  }
  for (const [oldest] of kept) {
    if (kept.size <= KEPT_MAX) break;
    kept.delete(oldest);
  }
  return known.value;
}
