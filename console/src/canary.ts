// Canaries: why nothing else goes live while one runs, and the plan of its steps as a person types it.
import type { CanaryShare } from "./api.ts";
import { shortId } from "./format.ts";
import { t } from "./texts.ts";

/** Why a switch, a rollback or a promotion is refused; `null` where it is not. */
export function refusedBy(canary: CanaryShare | null | undefined): string | null {
  return canary ? t.canary.refused(shortId(canary.version), canary.share) : null;
}

/** A share of the visitors in per cent as it was typed; `null` for what is none. */
export function shareOf(typed: string): number | null {
  const share = /^\s*(\d{1,2})\s*%?\s*$/.exec(typed)?.[1];
  return share && Number(share) > 0 ? Number(share) : null;
}

/** The times that a step may have: as the command line takes them, and in seconds. */
export const TIMES: [text: string, seconds: number][] = [
  ["1m", 60],
  ["5m", 300],
  ["10m", 600],
  ["30m", 1800],
  ["1h", 3600],
  ["6h", 21_600],
  ["1d", 86_400],
];

export interface Plan {
  shares: number[];
  every_s: number;
}

/** A plan as it was typed: `null` for none, `undefined` for what the edge would refuse. */
export function planOf(typed: string, every: string): Plan | null | undefined {
  const words = typed.split(/[\s,;%]+/).filter(Boolean);
  if (words.length === 0) return null;
  const shares = words.map((word) => (/^\d{1,3}$/.test(word) ? Number(word) : 0));
  const rises = shares.every((share, index) => share > (shares[index - 1] ?? 0) && share <= 100);
  const every_s = TIMES.find(([text]) => text === every)?.[1];
  return rises && every_s !== undefined && shares.length <= 20 ? { shares, every_s } : undefined;
}

/** The flags of the command line for a plan. */
export function planFlags(plan: Plan | null | undefined): [string, string][] {
  if (!plan) return [];
  const every = TIMES.find(([, seconds]) => seconds === plan.every_s)?.[0] ?? `${plan.every_s}s`;
  return [["--auto", plan.shares.join(",")], ["--every", every]];
}
