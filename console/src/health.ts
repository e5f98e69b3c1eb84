// How well things are: the shape and colour of each word that the API has for a state.
import type { Damage } from "./api.ts";
import { t } from "./texts.ts";

export type Tone = "good" | "bad" | "warn" | "busy" | "idle";

/** What an entry of a list and a status both say of an environment. */
export interface Condition {
  version?: string | null;
  damaged?: unknown;
  paused?: unknown;
  locked?: unknown;
  canary?: { share: number } | null;
}

export function healthOf(environment: Condition | undefined): [Tone, string] {
  if (environment?.damaged) return ["bad", t.health.damaged];
  if (!environment?.version) return ["idle", t.health.nothing];
  if (environment.paused) return ["warn", t.health.paused];
  if (environment.canary) return ["busy", t.health.canary(environment.canary.share)];
  return ["good", environment.locked ? t.health.locked : t.health.live];
}

/** What is damaged. Where the manifest is, no file of the version need be. */
export function damageText({ count, error, in_memory }: Damage): string {
  if (error) return in_memory ? t.card.unloadedAgain : t.card.unloaded;
  return in_memory ? t.card.damagedOnDisk(count) : t.card.damaged(count);
}

/** By what the word is of; a test holds them to the API's own description. */
export const TONES = {
  step: { started: "busy", done: "good", skipped: "idle", failed: "bad" },
  deploy: { begun: "busy", running: "busy", live: "good", done: "good", stored: "idle", superseded: "idle", failed: "bad" },
  instance: { starting: "busy", healthy: "good", unhealthy: "bad", waiting: "warn", "crash-loop": "bad", warm: "idle", stopping: "busy" },
  member: { up: "good", draining: "idle", ejected: "bad", unwell: "bad" },
  node: { ready: "good", cut: "warn", unreachable: "bad" },
  webhook: { active: "good", failing: "warn", disabled: "bad" },
  run: { succeeded: "good", failed: "bad", "timed-out": "bad", interrupted: "warn" },
} as const satisfies Record<string, Record<string, Tone>>;

/** A word of a later edge has no tone of its own. */
export function toneOf(kind: keyof typeof TONES, word: string): Tone {
  const tones: Record<string, Tone> = TONES[kind];
  return tones[word] ?? "idle";
}

export function toneOfStatus(status: number): Tone {
  return status >= 500 ? "bad" : status >= 400 ? "warn" : status >= 300 ? "idle" : "good";
}

/** A certificate is renewed earlier than this before its end; one that is closer to it was not. */
const RENEWED_MS = 14 * 24 * 60 * 60 * 1000;

export function toneOfCertificate(expires: number, now: number): Tone {
  return expires <= now ? "bad" : expires - now < RENEWED_MS ? "warn" : "good";
}
