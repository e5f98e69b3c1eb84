// What the whole console knows: the session, the time, and what was loaded for the page that is shown.
import { computed, signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Problem, Session } from "./api.ts";
import { call, problemFrom, whenOver } from "./client.ts";
import { Rights } from "./rights.ts";

export const session = signal<Session | null>(null);
export const rights = computed(() => new Rights(session.value?.rights ?? []));
/** Whether the session is over, and loading the page again did not show the login. */
export const isOver = signal(false);

/** The time, for what says how long ago something was. */
export const now = signal(Date.now());

/** What is read out to those who do not see it, and shown for a moment at the edge of the window. */
export const notice = signal<{ text: string; number: number } | null>(null);

let notices = 0;
export function announce(text: string): void {
  notices += 1;
  const number = notices;
  notice.value = { text, number };
  setTimeout(() => {
    if (notice.value?.number === number) notice.value = null;
  }, 8000);
}

/** A page that is loaded without a session is the login; this is done at most once in a row. */
const RELOAD_AGE_MS = 5000;

/** Says that the session is over above what is open, as that may hold what was typed, or a token. Set by its dialog. */
let sayOver: () => void = () => {};
let isSaid = false;

export function sayOverBy(say: () => void): void {
  sayOver = say;
}

export function endSession(): void {
  if (isOver.value) return;
  if (document.querySelector("dialog[open]")) {
    if (!isSaid) sayOver();
    isSaid = true;
    return;
  }
  const entry = performance.getEntriesByType("navigation")[0] as PerformanceNavigationTiming | undefined;
  if (entry?.type === "reload" && performance.now() < RELOAD_AGE_MS) {
    isOver.value = true;
    return;
  }
  location.reload();
}

export async function loadSession(): Promise<void> {
  session.value = await call<Session>("GET", "/v1/session");
}

export function startState(): void {
  whenOver(endSession);
  setInterval(() => {
    if (!document.hidden) now.value = Date.now();
  }, 10_000);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) now.value = Date.now();
  });
}

/** Counts what was changed here: what is shown is then loaded again. */
export const changes = signal(0);

export function changed(): void {
  changes.value += 1;
}

export interface Resource<Data> {
  data: Data | null;
  problem: Problem | null;
  loading: boolean;
  reload: () => void;
}

/** Answers that another try does not change: what was refused is not loaded again by itself. */
const FINAL = [403, 404, 410, 422];

/**
 * Loads something for as long as `key` is the same, again every `every` milliseconds while the page is in sight. What was
 * loaded before stays while it is loaded again, and when that fails.
 */
export function useResource<Data>(
  key: string | null,
  load: (signal: AbortSignal) => Promise<Data>,
  every = 0,
): Resource<Data> {
  const [state, setState] = useState<{ key: string | null; data: Data | null; problem: Problem | null }>({
    key: null,
    data: null,
    problem: null,
  });
  const [loading, setLoading] = useState(false);
  const latest = useRef(load);
  latest.current = load;
  const again = useRef<() => void>(() => {});
  useEffect(() => {
    if (key === null) return;
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let running = false;
    let isFinal = false;
    const run = async () => {
      if (running) return;
      running = true;
      clearTimeout(timer);
      setLoading(true);
      try {
        const data = await latest.current(controller.signal);
        isFinal = false;
        if (!controller.signal.aborted) setState({ key, data, problem: null });
      } catch (error) {
        isFinal = FINAL.includes(problemFrom(error).status);
        if (!controller.signal.aborted) {
          setState((old) => ({ key, data: old.key === key ? old.data : null, problem: problemFrom(error) }));
        }
      }
      running = false;
      if (controller.signal.aborted) return;
      setLoading(false);
      if (every > 0 && !isFinal) timer = setTimeout(tick, every);
    };
    const tick = () => {
      // Nobody looks: it goes on when somebody does.
      if (!document.hidden) void run();
    };
    const seen = () => {
      if (!document.hidden && every > 0 && !isFinal) void run();
    };
    again.current = () => void run();
    document.addEventListener("visibilitychange", seen);
    void run();
    return () => {
      controller.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [key, every, changes.value]);
  const isCurrent = state.key === key;
  return {
    data: isCurrent ? state.data : null,
    problem: isCurrent ? state.problem : null,
    loading: loading || !isCurrent,
    reload: () => again.current(),
  };
}

export interface Listing<Item> {
  items: Item[];
  problem: Problem | null;
  loading: boolean;
  hasMore: boolean;
  more: () => void;
  reload: () => void;
}

interface Loaded<Item> {
  key: string | null;
  items: Item[];
  next: string | null;
  problem: Problem | null;
}

/**
 * A list whose page behind `cursor` could not be loaded: that page is what comes next. Behind a first page nothing does: it
 * is loaded again as a whole, as what comes after the pages of before is not the beginning.
 */
export function failedPage<Item>(key: string | null, before: Item[], cursor: string | null, problem: Problem): Loaded<Item> {
  return { key, items: before, next: cursor, problem };
}

/** A list that is loaded page by page, as far as somebody looks. */
export function useListing<Item>(
  key: string | null,
  load: (cursor: string | null, signal: AbortSignal) => Promise<{ items: Item[]; next?: string | undefined }>,
): Listing<Item> {
  const empty: Loaded<Item> = { key: null, items: [], next: null, problem: null };
  const [state, setState] = useState<Loaded<Item>>(empty);
  const [loading, setLoading] = useState(false);
  const [round, setRound] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  const controller = useRef<AbortController | null>(null);
  const busy = useRef(false);
  const page = async (cursor: string | null, before: Item[], signal: AbortSignal) => {
    if (busy.current || key === null) return;
    busy.current = true;
    setLoading(true);
    try {
      const { items, next } = await latest.current(cursor, signal);
      if (!signal.aborted) setState({ key, items: [...before, ...items], next: next ?? null, problem: null });
    } catch (error) {
      if (!signal.aborted) setState(failedPage(key, before, cursor, problemFrom(error)));
    }
    if (!signal.aborted) {
      busy.current = false;
      setLoading(false);
    }
  };
  useEffect(() => {
    const own = new AbortController();
    controller.current = own;
    busy.current = false;
    void page(null, [], own.signal);
    return () => own.abort();
  }, [key, round, changes.value]);
  const isCurrent = state.key === key;
  const shown = isCurrent ? state : empty;
  return {
    items: shown.items,
    problem: shown.problem,
    loading: loading || !isCurrent,
    hasMore: shown.next !== null,
    more: () => {
      if (shown.next !== null && controller.current) void page(shown.next, shown.items, controller.current.signal);
    },
    reload: () => setRound((value) => value + 1),
  };
}
