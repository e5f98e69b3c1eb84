// What a person may do: what is not allowed is not offered. The edge decides for itself at each request.
import type { Right, Scope } from "./api.ts";

const RANK: Record<Scope, number> = { read: 1, push: 2, promote: 3, admin: 4 };

function holds(right: Right, scope: Scope): boolean {
  return right.scopes.some((held) => RANK[held] >= RANK[scope]);
}

export class Rights {
  constructor(private readonly rights: readonly Right[]) {}

  /** In one environment of an app, or as to an alias. */
  may(scope: Scope, app: string, env: string): boolean {
    return this.rights.some(
      (right) =>
        holds(right, scope) && (right.app === null || right.app === app) && (right.environment === null || right.environment === env),
    );
  }

  /** In some environment of an app. */
  maySomewhere(scope: Scope, app: string): boolean {
    return this.rights.some((right) => holds(right, scope) && (right.app === null || right.app === app));
  }

  /** In every environment of an app: deletion, restoring, its tokens. */
  mayEverywhere(scope: Scope, app: string): boolean {
    return this.rights.some(
      (right) => holds(right, scope) && right.environment === null && (right.app === null || right.app === app),
    );
  }

  /** In every app: nodes, the audit log of all, tokens of all. */
  mayAll(scope: Scope): boolean {
    return this.rights.some((right) => holds(right, scope) && right.environment === null && right.app === null);
  }

  /** The scopes that a new token may have there, the least first. */
  scopes(app: string | null): Scope[] {
    const admin = app === null ? this.mayAll("admin") : this.maySomewhere("admin", app);
    return admin ? ["read", "push", "promote", "admin"] : [];
  }

  /** A new app is made by its first push. */
  mayMakeApps(): boolean {
    return this.mayAll("push");
  }
}
