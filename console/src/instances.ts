// Instances of backends; an edge that runs none says so once, and is not asked again.
import type { Instance, InstanceList, Schedule } from "./api.ts";
import { call, placePath, problemFrom } from "./client.ts";

let runsNone = false;
/** The first request, which tells whether the edge runs any; neither a status nor an app says so. */
let first: Promise<unknown> | null = null;

async function unlessNone<Data>(none: Data, load: () => Promise<Data>): Promise<Data> {
  if (first) await first;
  if (runsNone) return none;
  const asked = askFor(none, load);
  first ??= asked.catch(() => {
    first = null;
  });
  return asked;
}

async function askFor<Data>(none: Data, load: () => Promise<Data>): Promise<Data> {
  try {
    return await load();
  } catch (error) {
    if (problemFrom(error).code !== "runner_off") throw error;
    runsNone = true;
    return none;
  }
}

export function loadInstances(app: string, env: string, signal: AbortSignal): Promise<InstanceList> {
  const where = placePath(app, env, "instances");
  return unlessNone({ instances: [], scale: {} }, () => call<InstanceList>("GET", where, { signal }));
}

export function loadSchedules(app: string, env: string, signal: AbortSignal): Promise<{ schedules: Schedule[] }> {
  const where = placePath(app, env, "schedules");
  return unlessNone({ schedules: [] }, () => call<{ schedules: Schedule[] }>("GET", where, { signal }));
}

/** Those that requests go to, or would: not those in reserve, nor those that end. */
export function servingOf(list: InstanceList): Instance[] {
  return list.instances.filter(({ state }) => state !== "warm" && state !== "stopping");
}
