// A deploy that is followed: its state and its steps as the edge streams them.
import type { Problem, RecentDeploy, RecentState, Step } from "./api.ts";

export interface Followed {
  state: RecentState;
  steps: Step[];
  problem: Problem | null;
  /** Whether nothing more will come. */
  ended: boolean;
}

export function begun(deploy: RecentDeploy): Followed {
  return { state: deploy.state, steps: deploy.steps, problem: problemOf(deploy.error), ended: !isUnderWay(deploy.state) };
}

export function isUnderWay(state: RecentState): boolean {
  return state === "running" || state === "begun";
}

/** Steps whose reports are of one node or one program each; those of others take the place of the one before. */
const GATHERED = ["prepare", "release"];
/** Reports of a step that are shown while it is under way. */
const LINES_MAX = 12;

/** Steps by their names: a later state of one takes the place of the earlier. */
export function withStep(before: Step[], step: Step): Step[] {
  const known = before.find((one) => one.name === step.name);
  const next = { ...known, ...step };
  if (GATHERED.includes(step.name)) {
    const lines = [...(known?.lines ?? []), ...(step.detail ? [step.detail] : [])];
    next.lines = lines.slice(-LINES_MAX);
  }
  return known ? before.map((one) => (one === known ? next : one)) : [...before, next];
}

/** What is said of a step, a line each: of one under way all that was reported, of one that has ended its result. */
export function linesOf(step: Step): string[] {
  if (step.state === "started" && step.lines) return step.lines;
  // A result is in parts where several nodes have one.
  return step.detail ? step.detail.split(" · ") : [];
}

/** What failed, as a problem. */
export function problemOf(error: RecentDeploy["error"]): Problem | null {
  return error ? { title: error.detail, status: 0, ...error } : null;
}

/** What an event changes. */
export function after(before: Followed, event: string, data: unknown): Followed {
  if (event === "step") {
    return { ...before, state: "running", steps: withStep(before.steps, data as Step) };
  }
  if (event === "problem") return { ...before, state: "failed", problem: data as Problem, ended: true };
  if (event === "done" || event === "switched") {
    const report = data as { switched?: boolean; steps?: Step[]; locked?: unknown };
    const state: RecentState = report.switched === false ? "stored" : "live";
    return { ...before, state, steps: report.steps ?? before.steps, ended: true };
  }
  return before;
}

/** How long a deploy that failed is shown above the history, and how many of them. */
const FAILED_MS = 24 * 60 * 60 * 1000;
const FAILED_MAX = 3;

/**
 * Those that failed lately, the newest first: a push until a later push of the environment went live, another one until
 * anything did.
 */
export function failedLately(deploys: RecentDeploy[], now: number): RecentDeploy[] {
  const endOf = (deploy: RecentDeploy) => deploy.ended_ms ?? deploy.started_ms;
  const isPush = ({ kind }: RecentDeploy) => kind === undefined || kind === "push";
  const isPast = (failed: RecentDeploy) =>
    deploys.some((other) => other.state === "live" && endOf(other) >= endOf(failed) && (isPush(other) || !isPush(failed)));
  return deploys.filter((deploy) => deploy.state === "failed" && now - endOf(deploy) < FAILED_MS && !isPast(deploy)).slice(0, FAILED_MAX);
}

/** Steps that do not repeat what the problem says. */
export function stepsBeside(steps: Step[], detail: string | undefined): Step[] {
  if (!detail) return steps;
  return steps.map((step) => {
    if (!step.detail || !repeats(step.detail, detail)) return step;
    const { detail: _repeated, ...rest } = step;
    return rest;
  });
}

/** Lines of a log that do not repeat it. */
export function logBeside(log: string[], detail: string | undefined): string[] {
  return detail ? log.filter((line) => !repeats(line, detail)) : log;
}

function repeats(text: string, detail: string): boolean {
  return text.includes(detail.replace(/\.$/, ""));
}
