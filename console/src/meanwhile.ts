// That something else went live between the look and the click.
import { problemFrom, Refused } from "./client.ts";
import { shortId } from "./format.ts";
import { t } from "./texts.ts";

/** An error of an operation that makes a version live; one that came too late says which version is live by now, and where. */
export function meanwhile(error: unknown): unknown {
  const problem = problemFrom(error);
  if (problem.code !== "live_moved" || !problem.live) return error;
  const { environment, version } = problem.live;
  const detail = version ? t.meanwhile.live(shortId(version), environment) : t.meanwhile.nothing(environment);
  return new Refused({ ...problem, detail, hint: t.meanwhile.hint });
}
