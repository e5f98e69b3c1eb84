// Reports to an open page that its version was replaced.
//
//   const stop = onNewVersion((live) => (banner.hidden = live === null), { service: game });
//
// The live version is in `release.json` of the page's own origin. It is read when the page is loaded, then every
// `everyMs` while the page is visible, when it is shown again, when the network is back, and when a `service` connects
// again, which is what a switch of a backend looks like. One small answer a minute, mostly 304, costs less than a
// connection that is held for it.

const RELEASE = "/.well-known/devanture/release.json";
const EVERY_MS = 60_000;
/** Less than this between two reads is for tests alone. */
const EVERY_MS_MIN = 1_000;
const ANSWER_MS_MAX = 10_000;
/** The longest time of a timer: one that is longer fires at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/**
 * Calls `callback` with the content of `release.json` when another version than the page's is live, once for each, and
 * with null when the page's own is live again. Gives a function that ends that.
 *
 * The page's own version is `version`, if the page knows it, or else the first that is read.
 */
export function onNewVersion(callback, options = {}) {
  const { version, everyMs = EVERY_MS, origin = globalThis.location?.origin, service } = options;
  if (!(everyMs >= EVERY_MS_MIN) && !options.fetch) throw new RangeError(`everyMs is ${EVERY_MS_MIN} at least`);
  const { document } = globalThis;
  let [own, reported, timer, isReading, isEnded] = [version, version, undefined, false, false];

  const read = async () => {
    if (isReading || isEnded) return;
    isReading = true;
    clearTimeout(timer);
    const live = await release(origin, options.fetch ?? globalThis.fetch);
    isReading = false;
    if (isEnded) return;
    if (live) report(live);
    // Never all browsers at once.
    const waitMs = Math.min(everyMs * (0.75 + Math.random() / 2), TIMER_MS_MAX);
    timer = setTimeout(() => (document?.hidden ? undefined : read()), waitMs);
  };
  const report = (live) => {
    own ??= live.version;
    reported ??= own;
    if (live.version === reported) return;
    reported = live.version;
    try {
      callback(live.version === own ? null : live);
    } catch (error) {
      // A callback that fails gets the next version all the same.
      console.error(error);
    }
  };
  const shown = () => (document.hidden ? undefined : read());
  document?.addEventListener("visibilitychange", shown);
  globalThis.addEventListener?.("online", read);
  const unsubscribe = service?.on("connected", read);
  read();
  return () => {
    isEnded = true;
    clearTimeout(timer);
    document?.removeEventListener("visibilitychange", shown);
    globalThis.removeEventListener?.("online", read);
    unsubscribe?.();
  };
}

/** What is live; nothing where that cannot be known now, such as without a network. */
async function release(origin, fetch) {
  try {
    const answer = await fetch(origin + RELEASE, { cache: "no-cache", signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    const live = answer.ok ? await answer.json() : undefined;
    return typeof live?.version === "string" ? live : undefined;
  } catch {
    return undefined;
  }
}
