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
  const ended = deploy.state !== "running" && deploy.state !== "begun";
  return { state: deploy.state, steps: deploy.steps, problem: problemOf(deploy.error), ended };
}

/** What failed, as a problem. */
export function problemOf(error: RecentDeploy["error"]): Problem | null {
  return error ? { title: error.detail, status: 0, ...error } : null;
}

/** What an event changes. A later state of a step takes the place of the earlier. */
export function after(before: Followed, event: string, data: unknown): Followed {
  if (event === "step") {
    const step = data as Step;
    const index = before.steps.findIndex((one) => one.name === step.name);
    const steps =
      index < 0 ? [...before.steps, step] : before.steps.map((one, at) => (at === index ? { ...one, ...step } : one));
    return { ...before, state: "running", steps };
  }
  if (event === "problem") return { ...before, state: "failed", problem: data as Problem, ended: true };
  if (event === "done" || event === "switched") {
    const report = data as { switched?: boolean; steps?: Step[]; locked?: unknown };
    const state: RecentState = report.switched === false ? "stored" : "live";
    return { ...before, state, steps: report.steps ?? before.steps, ended: true };
  }
  return before;
}
