// Who may see previews and environments: what is set, and what is set for nothing.
import type { Protection, ProtectionMode, ShareLink } from "./api_more.ts";
import { call, path } from "./client.ts";
import { shortId } from "./format.ts";
import type { Tone } from "./health.ts";
import { type Resource, useResource } from "./state.ts";

/** The name that the API has for all previews of an app, in place of that of an environment. */
export const PREVIEWS = "preview";

/** Who may see what of an app, as far as something is set. */
export function useProtection(app: string, every = 0): Resource<{ protections: Protection[] }> {
  return useResource(`protection ${app}`, (signal) => call("GET", path`/v1/apps/${app}/protection`, { signal }), every);
}

/** A row for the previews and each environment: what the edge lists, and what everybody sees as nothing is set for it. */
export function protectionOf(set: Protection[], environments: string[]): Protection[] {
  const known = new Set(set.map(({ environment }) => environment));
  const others = environments.filter((name) => !known.has(name));
  return [...set, ...others.map((environment) => ({ environment, mode: "public" as const, is_default: true, has_password: false }))];
}

/** The modes that something may have; previews alone can be turned off. */
export function modesOf(environment: string): ProtectionMode[] {
  const modes: ProtectionMode[] = ["public", "password", "token"];
  return environment === PREVIEWS ? [...modes, "off"] : modes;
}

export function toneOfMode(mode: string): Tone {
  return mode === "public" ? "idle" : mode === "off" ? "warn" : "good";
}

/** The environment in which a link needs its right. */
export function targetOf(link: ShareLink): string {
  return link.target.environment ?? PREVIEWS;
}

/** What a link opens, as a person types it: a version in short, and names as they are. Names are never hex digits alone. */
export function shortTarget(target: string): string {
  return /^[0-9a-f]{12,64}$/.test(target) ? shortId(target) : target;
}

/** How the previews of an app are protected; `null` where everybody sees them, or the edge does not say. */
export function protectsPreviews(list: Protection[]): ProtectionMode | null {
  const mode = list.find(({ environment }) => environment === PREVIEWS)?.mode ?? "public";
  return mode === "public" ? null : mode;
}
