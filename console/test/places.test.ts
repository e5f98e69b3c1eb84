// Addresses, windows of long lists, choices, proofs, and the previews of versions.
import { describe, expect, it } from "vitest";
import type { Deploy } from "../src/api.ts";
import { choicesOf, versionsOf } from "../src/choices.ts";
import { fromBase64url, toBase64url } from "../src/passkeys.ts";
import { previewOf } from "../src/preview_address.ts";
import { proofOf } from "../src/proof.ts";
import { parse, to } from "../src/router.ts";
import { rowsInView } from "../src/windowing.ts";

describe("addresses", () => {
  it("lead to their page and back", () => {
    expect(to("compare", { app: "shop" }, { from: "prod", to: "", env: null })).toBe("/console/apps/shop/compare?from=prod");
    for (const page of ["apps", "nodes", "audit", "account", "tokens"]) expect(parse(to(page), "").page).toBe(page);
    for (const page of ["app", "deploys", "previews", "traffic", "upkeep"]) {
      expect(parse(to(page, { app: "a b/ü" }), "")).toMatchObject({ page, params: { app: "a b/ü" } });
    }
  });

  it("that are none lead to a page that says so", () => {
    for (const path of ["/console/x", "/console/apps/", "/console/apps/shop/x/y", "/consoles", "/console/apps/%ff/deploys"]) {
      expect(parse(path, "").page).toBe("missing");
    }
    expect(parse("/console/", "?search=a").query.get("search")).toBe("a");
  });
});

describe("a long list", () => {
  it("has the rows in sight, and space for the others", () => {
    for (const top of [0, 1000, 43_000, 999_999]) {
      const shown = rowsInView(1000, 44, top, 800);
      expect(shown.before + (shown.end - shown.first) * 44 + shown.after).toBe(44_000);
      expect(shown.end - shown.first).toBeLessThan(60);
      expect(shown.end).toBeLessThanOrEqual(1000);
    }
    expect(rowsInView(3, 44, 0, 800)).toEqual({ first: 0, end: 3, before: 0, after: 0 });
    expect(rowsInView(0, 44, 0, 800)).toEqual({ first: 0, end: 0, before: 0, after: 0 });
  });
});

describe("what can be compared", () => {
  const deploy = (version: string, message: string): Deploy => ({
    id: "1",
    kind: "push",
    environment: "prod",
    version,
    previous: null,
    who: "ci",
    at_ms: 0,
    source: { message },
    steps: [],
    outcome: "live",
  });

  it("is each version once, without those that are gone", () => {
    const a = "a".repeat(64);
    const b = "b".repeat(64);
    const found = choicesOf(["prod"], [], { deploys: [deploy(a, ""), deploy(b, "gone"), deploy(a, "First\u202e\nmore")], deleted: [b] });
    expect(found.versions.map((one) => one.value)).toEqual([a]);
    expect(found.versions[0]?.text).toContain("First⟨U+202E⟩");
    expect(found.environments).toEqual([{ value: "prod", text: "prod" }]);
  });

  it("is each version at its own address, however it came", () => {
    const [a, b, c, d] = ["a", "b", "c", "d"].map((letter) => letter.repeat(64)) as [string, string, string, string];
    const deploys: Deploy[] = [
      { ...deploy(a, ""), kind: "rollback" },
      { ...deploy(b, "Broken"), outcome: "failed" },
      { ...deploy(c, ""), kind: "promote" },
      deploy(d, "gone"),
      { ...deploy(a, "First"), outcome: "failed" },
    ];
    const shown = versionsOf(deploys, new Set([d])).map(({ version, outcome, source }) => [version, outcome, source.message]);
    expect(shown).toEqual([[a, "live", "First"], [b, "failed", "Broken"], [c, "live", ""]]);
  });
});

describe("the preview of a version", () => {
  const version = "4f2a91bc03de".padEnd(64, "0");
  const urls = { live: "https://shop.x/", preview: "https://4f2a91bc03de--shop.p.x:8443" };
  const status = { app: "shop", environment: "prod", version, urls, hostnames: [], places: [] };

  it("is that of the live one with the other id", () => {
    expect(previewOf(status, "9".repeat(64))).toBe("https://999999999999--shop.p.x:8443");
    expect(previewOf(null, version)).toBeNull();
    expect(previewOf({ ...status, urls: { ...urls, preview: "https://elsewhere/" } }, version)).toBeNull();
  });
});

describe("the proof of a hostname", () => {
  const hint = 'create the record _devanture.www.example.org. TXT "devanture-app=5f0c", wait until DNS shows it, and try again; or let an admin token add it';
  const problem = { title: "", status: 422, code: "hostname_unproven", detail: "", hint };

  it("is the record that the hint names", () => {
    expect(proofOf(problem)).toEqual({ name: "_devanture.www.example.org.", type: "TXT", value: "devanture-app=5f0c" });
    expect(proofOf({ ...problem, code: "hostname_taken" })).toBeNull();
    expect(proofOf({ ...problem, hint: "ask an admin" })).toBeNull();
    expect(proofOf(null)).toBeNull();
  });
});

describe("bytes of passkeys", () => {
  it("are base64url without padding, there and back", () => {
    const bytes = new Uint8Array([0, 1, 250, 251, 252, 253, 254, 255]);
    expect(toBase64url(bytes)).toBe("AAH6-_z9_v8");
    expect([...fromBase64url(toBase64url(bytes))]).toEqual([...bytes]);
  });
});
