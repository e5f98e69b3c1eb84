// The proof of a hostname by DNS, read out of the hint that the edge gives.
import type { Problem } from "./api.ts";

export interface Proof {
  name: string;
  type: string;
  value: string;
}

/** The record to create; `null` if the hint names none. */
export function proofOf(problem: Problem | null): Proof | null {
  if (problem?.code !== "hostname_unproven" || !problem.hint) return null;
  const found = /record (\S+) (TXT) "([^"]+)"/.exec(problem.hint);
  if (!found) return null;
  const [, name = "", type = "", value = ""] = found;
  return { name, type, value };
}
