// What a person may do: what is not allowed is not offered. The edge decides for itself at each request.
import type { Right, Scope } from "./api.ts";

/** The scopes, and those that each includes. */
const INCLUDED: Record<Scope, Scope[]> = {
  read: ["read"],
  push: ["read", "push"],
  promote: ["read", "push", "promote"],
  run: ["read", "run"],
  admin: ["read", "push", "promote", "run", "admin"],
};

function holds(right: Right, scope: Scope): boolean {
  return right.scopes.some((held) => INCLUDED[held].includes(scope));
}

/** How much of the edge a right has to reach: an environment, any one of an app, all of an app, all apps. */
type Reach = "here" | "somewhere" | "everywhere" | "all";

/** What pages offer, and the right that it needs, as docs/api.md has it of the operation that does it. */
export const NEEDS = {
  seeNodes: ["read", "all"],
  seeAudit: ["admin", "all"],
  seeSessions: ["admin", "all"],
  makeApp: ["push", "all"],
  seeLimits: ["read", "everywhere"],
  goLive: ["push", "here"],
  promote: ["promote", "here"],
  seeReports: ["read", "here"],
  unpin: ["push", "here"],
  lock: ["push", "here"],
  pause: ["push", "here"],
  changeSettings: ["promote", "here"],
  changeHostnames: ["push", "here"],
  runBackend: ["push", "here"],
  share: ["push", "somewhere"],
  protect: ["promote", "here"],
  shareLinks: ["push", "here"],
  seeWebhooks: ["read", "everywhere"],
  changeWebhooks: ["promote", "everywhere"],
  changeSigners: ["admin", "here"],
  deleteVersion: ["push", "everywhere"],
  restoreVersion: ["push", "everywhere"],
  remove: ["admin", "everywhere"],
  restore: ["admin", "everywhere"],
  changeConfirmations: ["admin", "everywhere"],
  makeTokens: ["admin", "somewhere"],
  makeEnvironmentTokens: ["admin", "here"],
  makeAppTokens: ["admin", "everywhere"],
  makeEdgeTokens: ["admin", "all"],
} as const satisfies Record<string, [Scope, Reach]>;

export type Deed = keyof typeof NEEDS;

export class Rights {
  constructor(private readonly rights: readonly Right[]) {}

  /** Whether a page may offer something: in an environment, as to an app, or in the whole edge. */
  can(deed: Deed, app: string | null = null, env: string | null = null): boolean {
    const [scope, reach] = NEEDS[deed];
    return this.rights.some((right) => holds(right, scope) && reaches(right, reach, app, env));
  }

  /** The environments of these that may be promoted to another one. */
  sources(app: string, env: string, names: string[]): string[] {
    return this.can("promote", app, env) ? names.filter((name) => name !== env) : [];
  }

  /** The scopes that a new token may have there, the least first. */
  scopes(app: string | null): Scope[] {
    return this.can(app === null ? "makeEdgeTokens" : "makeTokens", app) ? INCLUDED.admin : [];
  }
}

function reaches(right: Right, reach: Reach, app: string | null, env: string | null): boolean {
  if (reach === "all") return right.app === null && right.environment === null;
  if (right.app !== null && right.app !== app) return false;
  return reach === "somewhere" || right.environment === null || (reach === "here" && right.environment === env);
}
