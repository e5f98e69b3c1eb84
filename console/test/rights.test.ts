// What a person may not do is not offered.
import { describe, expect, it } from "vitest";
import type { Scope } from "../src/api.ts";
import { Rights } from "../src/rights.ts";

const of = (app: string | null, environment: string | null, ...scopes: Scope[]) => new Rights([{ app, environment, scopes }]);

describe("rights", () => {
  it("hold those below them", () => {
    const rights = of(null, null, "promote");
    expect(rights.may("push", "shop", "prod")).toBe(true);
    expect(rights.may("admin", "shop", "prod")).toBe(false);
    expect(rights.mayMakeApps()).toBe(true);
    expect(rights.scopes(null)).toEqual([]);
  });

  it("are of their app and environment alone", () => {
    const rights = of("shop", "staging", "admin");
    expect(rights.may("admin", "shop", "staging")).toBe(true);
    expect(rights.may("read", "shop", "prod")).toBe(false);
    expect(rights.may("read", "other", "staging")).toBe(false);
    expect(rights.maySomewhere("admin", "shop")).toBe(true);
    expect(rights.mayEverywhere("read", "shop")).toBe(false);
    expect(rights.mayAll("read")).toBe(false);
    expect(rights.mayMakeApps()).toBe(false);
    expect(rights.scopes("shop")).toEqual(["read", "push", "promote", "admin"]);
  });

  it("are none without any", () => {
    expect(new Rights([]).may("read", "shop", "prod")).toBe(false);
  });
});
