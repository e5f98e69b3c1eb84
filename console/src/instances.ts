// Instances of backends, and schedules: asked for only where the live version has a backend that the edge runs.
import type { AppInfo, Instance, InstanceList, Schedule } from "./api.ts";
import { call, placePath } from "./client.ts";
import { type Resource, useResource } from "./state.ts";

/** Whether the live version of an environment has a backend that the edge runs. */
export function runsBackend(info: AppInfo | null, env: string | null): boolean {
  return info?.environments.some(({ name, backend }) => name === env && backend === true) ?? false;
}

export function useInstances(info: AppInfo | null, env: string | null, every: number): Resource<InstanceList> {
  return useBackend<InstanceList>(info, env, "instances", every);
}

export function useSchedules(info: AppInfo | null, env: string | null, every: number): Resource<{ schedules: Schedule[] }> {
  return useBackend<{ schedules: Schedule[] }>(info, env, "schedules", every);
}

function useBackend<Data>(info: AppInfo | null, env: string | null, what: string, every: number): Resource<Data> {
  const where = info && env !== null && runsBackend(info, env) ? placePath(info.app, env, what) : null;
  return useResource<Data>(where, (signal) => call("GET", where ?? "", { signal }), every);
}

/** Those that requests go to, or would: not those in reserve, nor those that end. */
export function servingOf(list: InstanceList): Instance[] {
  return list.instances.filter(({ state }) => state !== "warm" && state !== "stopping");
}
