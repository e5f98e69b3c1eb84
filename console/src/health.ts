// How well an environment is, in a shape and a word.
import { t } from "./texts.ts";

export type Tone = "good" | "bad" | "warn" | "busy" | "idle";

/** What an entry of a list and a status both say of an environment. */
export interface Condition {
  version?: string | null;
  damaged?: unknown;
  paused?: unknown;
  locked?: unknown;
}

export function healthOf(environment: Condition | undefined): [Tone, string] {
  if (environment?.damaged) return ["bad", t.health.damaged];
  if (!environment?.version) return ["idle", t.health.nothing];
  if (environment.paused) return ["warn", t.health.paused];
  return ["good", environment.locked ? t.health.locked : t.health.live];
}
