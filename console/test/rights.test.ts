// What a person may not do is not offered, and what the edge would let them do is.
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import type { Scope } from "../src/api.ts";
import { type Deed, NEEDS, Rights } from "../src/rights.ts";

const of = (app: string | null, environment: string | null, ...scopes: Scope[]) => new Rights([{ app, environment, scopes }]);

describe("rights", () => {
  it("hold those below them", () => {
    const rights = of(null, null, "promote");
    expect(rights.can("goLive", "shop", "prod")).toBe(true);
    expect(rights.can("promote", "shop", "prod")).toBe(true);
    expect(rights.can("remove", "shop")).toBe(false);
    expect(rights.can("makeApp")).toBe(true);
    expect(rights.scopes(null)).toEqual([]);
  });

  it("to run commands change nothing that is live", () => {
    const rights = of("shop", null, "run");
    expect(rights.can("seeLimits", "shop")).toBe(true);
    expect(rights.can("goLive", "shop", "prod")).toBe(false);
    expect(rights.can("changeSettings", "shop", "prod")).toBe(false);
  });

  it("are of their app and environment alone", () => {
    const rights = of("shop", "staging", "admin");
    expect(rights.can("changeSettings", "shop", "staging")).toBe(true);
    expect(rights.can("changeSettings", "shop", "prod")).toBe(false);
    expect(rights.can("changeSettings", "other", "staging")).toBe(false);
    expect(rights.can("makeTokens", "shop")).toBe(true);
    expect(rights.can("makeTokens", "other")).toBe(false);
    expect(rights.can("makeAppTokens", "shop")).toBe(false);
    expect(rights.can("seeLimits", "shop")).toBe(false);
    expect(rights.can("seeNodes")).toBe(false);
    expect(rights.can("makeApp")).toBe(false);
    expect(rights.scopes("shop")).toEqual(["read", "push", "promote", "run", "admin"]);
  });

  it("of an app are not those of the edge", () => {
    const rights = of("shop", null, "admin");
    expect(rights.can("remove", "shop")).toBe(true);
    expect(rights.can("seeAudit")).toBe(false);
    expect(rights.sources("shop", "prod", ["prod", "staging"])).toEqual(["staging"]);
  });

  it("are none without any", () => {
    for (const deed of Object.keys(NEEDS) as Deed[]) expect(new Rights([]).can(deed, "shop", "prod")).toBe(false);
    expect(new Rights([]).sources("shop", "prod", ["staging"])).toEqual([]);
  });
});

/** The operations that do what a page offers; they are in the table of the page about the API, with what they need. */
const OPERATIONS: Record<Deed, string[]> = {
  seeNodes: ["GET /v1/nodes"],
  seeAudit: ["GET /v1/audit"],
  seeSessions: ["GET /v1/sessions"],
  makeApp: ["POST /v1/apps/{app}/environments/{env}/deploys"],
  seeLimits: ["GET /v1/apps/{app}/usage"],
  goLive: ["POST /v1/apps/{app}/environments/{env}/switch", "POST /v1/apps/{app}/environments/{env}/rollback",
    "PUT /v1/apps/{app}/environments/{env}/canary", "DELETE /v1/apps/{app}/environments/{env}/canary", "POST /v1/apps/{app}/environments/{env}/canary/finish"],
  promote: ["POST /v1/apps/{app}/environments/{env}/promote"],
  lock: ["PUT /v1/apps/{app}/environments/{env}/lock", "DELETE /v1/apps/{app}/environments/{env}/lock"],
  pause: ["POST /v1/apps/{app}/environments/{env}/pause", "POST /v1/apps/{app}/environments/{env}/resume"],
  changeSettings: ["PATCH /v1/apps/{app}/environments/{env}/settings"],
  changeHostnames: ["PUT /v1/apps/{app}/environments/{env}/hostnames/{host}", "DELETE /v1/apps/{app}/environments/{env}/hostnames/{host}"],
  runBackend: [
    "PATCH /v1/apps/{app}/environments/{env}/instances",
    "POST /v1/apps/{app}/environments/{env}/instances/restart",
    "POST /v1/apps/{app}/environments/{env}/schedules/{name}/run",
  ],
  seeReports: ["GET /v1/apps/{app}/environments/{env}/integrity"],
  unpin: ["DELETE /v1/apps/{app}/environments/{env}/pins"],
  share: ["PUT /v1/apps/{app}/aliases/{name}", "DELETE /v1/apps/{app}/aliases/{name}"],
  protect: ["PUT /v1/apps/{app}/environments/{env}/protection"],
  shareLinks: ["POST /v1/apps/{app}/shares", "DELETE /v1/apps/{app}/shares/{id}"],
  seeWebhooks: ["GET /v1/apps/{app}/webhooks", "GET /v1/apps/{app}/webhooks/{name}"],
  changeWebhooks: [
    "PUT /v1/apps/{app}/webhooks/{name}",
    "DELETE /v1/apps/{app}/webhooks/{name}",
    "POST /v1/apps/{app}/webhooks/{name}/test",
    "POST /v1/apps/{app}/webhooks/{name}/rotate",
    "POST /v1/apps/{app}/webhooks/{name}/deliveries/{id}/redeliver",
  ],
  changeSigners: ["PUT /v1/apps/{app}/environments/{env}/signers"],
  deleteVersion: ["DELETE /v1/apps/{app}/versions/{id}"],
  restoreVersion: ["POST /v1/apps/{app}/undelete"],
  remove: ["DELETE /v1/apps/{app}", "DELETE /v1/apps/{app}/environments/{env}"],
  restore: ["POST /v1/apps/{app}/undelete"],
  changeConfirmations: ["PUT /v1/apps/{app}/confirmations"],
  makeTokens: ["POST /v1/tokens"],
  makeEnvironmentTokens: ["POST /v1/tokens"],
  makeAppTokens: ["POST /v1/tokens"],
  makeEdgeTokens: ["POST /v1/tokens"],
};

describe("what is offered", () => {
  const page = fs.readFileSync(path.join(import.meta.dirname, "../../docs/api.md"), "utf8");
  const needs = new Map([...page.matchAll(/^\| ([A-Z]+) \| `([^`]+)` \| ([^|]+) \|$/gm)].map((row) => [`${row[1]} ${row[2]}`, row[3] ?? ""]));

  it("needs what the edge asks for", () => {
    for (const [deed, operations] of Object.entries(OPERATIONS)) {
      const [scope, reach] = NEEDS[deed as Deed];
      for (const operation of operations) {
        const asked = needs.get(operation);
        expect(asked, operation).toBeDefined();
        expect(asked?.split(/\W+/), `${deed}: ${operation}`).toContain(scope);
        if (/^\w+, every environment$/.test(asked ?? "")) expect(reach, deed).toBe("everywhere");
        if (/^\w+, every app$/.test(asked ?? "")) expect(reach, deed).toBe("all");
      }
    }
  });
});
