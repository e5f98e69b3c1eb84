// How well an environment is, in one word.
import { describe, expect, it } from "vitest";
import { healthOf } from "../src/health.ts";

describe("the state of an environment", () => {
  it("is the worst that is known of it", () => {
    const version = "a".repeat(64);
    expect(healthOf(undefined)).toEqual(["idle", "Nothing live"]);
    expect(healthOf({ version })).toEqual(["good", "Live"]);
    expect(healthOf({ version, locked: true })).toEqual(["good", "Live, locked"]);
    expect(healthOf({ version, locked: true, paused: true })).toEqual(["warn", "Paused"]);
    expect(healthOf({ version, paused: {}, damaged: { count: 1 } })).toEqual(["bad", "Damaged"]);
    expect(healthOf({ version: null, paused: null, damaged: null })).toEqual(["idle", "Nothing live"]);
  });
});
