// The history of an environment, page by page, and which of its versions are not stored any more.
import { useState } from "preact/hooks";
import type { Deploy, History } from "./api.ts";
import { call, placePath } from "./client.ts";
import { type Listing, useListing } from "./state.ts";

export interface Past extends Listing<Deploy> {
  /** Versions that were deleted or collected. */
  gone: Set<string>;
}

export function useHistory(app: string, env: string | null, limit: number): Past {
  const [gone, setGone] = useState<Set<string>>(new Set());
  const list = useListing<Deploy>(env === null ? null : `history ${app} ${env}`, async (cursor, signal) => {
    const where = placePath(app, env ?? "", "history");
    const page = await call<History>("GET", where, { query: { limit, before: cursor }, signal });
    const ended = goneOf(page);
    if (ended.size > 0) setGone((old) => new Set([...old, ...ended]));
    return { items: page.deploys, next: page.next };
  });
  return { ...list, gone };
}

/** The versions that a page of the history names and that are not stored any more. */
export function goneOf(page: Pick<History, "deleted" | "collected">): Set<string> {
  return new Set([...(page.deleted ?? []), ...(page.collected ?? [])]);
}
