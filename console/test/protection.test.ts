// Who may see previews and environments, with what nothing is set for.
import { describe, expect, it } from "vitest";
import type { Protection, ShareLink } from "../src/api_more.ts";
import { modesOf, protectionOf, protectsPreviews, shortTarget, targetOf, toneOfMode } from "../src/protection.ts";

const set = (environment: string, mode: Protection["mode"]): Protection => ({ environment, mode, is_default: false, has_password: false });
const link = (target: ShareLink["target"]): ShareLink => ({ id: "0", target, host: "x", has_password: false, who: "ada", created_ms: 0, expires_ms: 1 });

describe("protection", () => {
  it("is a row for the previews and each environment", () => {
    const rows = protectionOf([set("preview", "token"), set("staging", "password")], ["prod", "staging"]);
    expect(rows.map(({ environment, mode, is_default }) => [environment, mode, is_default])).toEqual([
      ["preview", "token", false],
      ["staging", "password", false],
      ["prod", "public", true],
    ]);
  });

  it("of previews leaves a frame empty, where it is known", () => {
    expect(protectsPreviews([set("preview", "token")])).toBe("token");
    expect(protectsPreviews([set("preview", "public"), set("prod", "password")])).toBeNull();
    expect(protectsPreviews([])).toBeNull();
  });

  it("can turn off previews alone", () => {
    expect(modesOf("preview")).toContain("off");
    expect(modesOf("prod")).toEqual(["public", "password", "token"]);
    expect(["public", "password", "token", "off", "of a later edge"].map(toneOfMode)).toEqual(["idle", "good", "good", "warn", "good"]);
  });
});

describe("a share link", () => {
  it("needs its right where it leads", () => {
    expect(targetOf(link({ environment: "staging" }))).toBe("staging");
    expect(targetOf(link({ alias: "feature-x" }))).toBe("preview");
    expect(targetOf(link({ version: "a".repeat(64) }))).toBe("preview");
  });

  it("names versions in short, and nothing else", () => {
    expect(shortTarget("4f2a91bc03de".padEnd(64, "0"))).toBe("4f2a91bc03de");
    expect(shortTarget("a-long-alias-of-20-c")).toBe("a-long-alias-of-20-c");
  });
});
