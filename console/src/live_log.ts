// The log of what was live, from its end: the API has it from its beginning, as it is checked.
import type { Page } from "./api.ts";
import type { LiveLogEntry } from "./api_more.ts";

/** Asks for a page of the log: entries behind a number, or from the first one. */
export type Ask = (after: number | null, limit: number) => Promise<Page<"entries", LiveLogEntry>>;

/** Entries of a page. */
export const PAGE = 100;
/** Entries of a page of an export; the edge gives no more. */
const EXPORT_PAGE = 1000;
/** The first jump on the way to the end, which doubles. */
const JUMP = 1024;

/** The number of the last entry, where `first` is there. */
async function lastNumber(ask: Ask, first: number): Promise<number> {
  const has = async (number: number) => (await ask(number, 1)).entries.length > 0;
  // Something comes behind `below`, and nothing behind `above`.
  let below = first - 1;
  let jump = JUMP;
  while (await has(below + jump)) {
    below += jump;
    jump *= 2;
  }
  let above = below + jump;
  while (above - below > 1) {
    const middle = Math.floor((below + above) / 2);
    if (await has(middle)) below = middle;
    else above = middle;
  }
  return above;
}

/** A page of the log, the newest first: without a cursor the last one. */
export async function newest(ask: Ask, cursor: string | null): Promise<{ items: LiveLogEntry[]; next?: string }> {
  let [first = 0, end = 0] = (cursor ?? "").split(" ").map(Number);
  if (cursor === null) {
    const page = await ask(null, PAGE);
    first = page.entries[0]?.number ?? 0;
    if (page.next === undefined) return { items: page.entries.reverse() };
    end = (await lastNumber(ask, first)) + 1;
  }
  const begin = Math.max(first, end - PAGE);
  const { entries } = await ask(begin > first ? begin - 1 : null, end - begin);
  const items = entries.filter(({ number }) => number < end).reverse();
  return begin > first ? { items, next: `${first} ${begin}` } : { items };
}

/** The whole of it, each entry as a line of JSON, as `devanture live-log --export` prints it. */
export async function exported(ask: Ask): Promise<string> {
  const lines: string[] = [];
  for (let after: number | null = null; ; ) {
    const page: Page<"entries", LiveLogEntry> = await ask(after, EXPORT_PAGE);
    lines.push(...page.entries.map((entry) => `${JSON.stringify(entry)}\n`));
    const last = page.entries.at(-1);
    if (page.next === undefined || !last) return lines.join("");
    after = last.number;
  }
}

/** The numbers of entries that do not name the hash of the one before; of a list with the newest first. */
export function brokenOf(entries: LiveLogEntry[]): Set<number> {
  const broken = entries.filter((entry, index) => {
    const before = entries[index + 1];
    return before !== undefined && (entry.previous !== before.hash || entry.number !== before.number + 1);
  });
  return new Set(broken.map(({ number }) => number));
}
