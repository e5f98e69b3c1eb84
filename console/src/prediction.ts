// Whether what a dialog showed is still what would happen.
import { Refused } from "./client.ts";
import { shortId } from "./format.ts";
import { t } from "./texts.ts";

/** The version that would be live, and the one that is. */
export interface Prediction {
  version: string | null;
  previous: string | null;
}

/** Refuses to go on where another version would go live than was shown, or another one would be replaced. */
export function checkSame(shown: Prediction | null, now: Prediction, env: string): void {
  if (shown && shown.version === now.version && shown.previous === now.previous) return;
  const next = now.version ? shortId(now.version) : "—";
  const detail =
    shown && shown.previous !== now.previous ? t.meanwhile.live(now.previous ? shortId(now.previous) : "—", env) : t.meanwhile.next(next);
  throw new Refused({ title: detail, status: 0, code: "changed_meanwhile", detail, hint: t.meanwhile.hint });
}
