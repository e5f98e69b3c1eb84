// How well things are, in a shape and a word; and that each word of the API has one.
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { damageText, healthOf, TONES, toneOf, toneOfCertificate } from "../src/health.ts";
import { t } from "../src/texts.ts";
import { m } from "../src/texts_more.ts";
import { EVENTS, FORMATS } from "../src/webhooks.ts";

describe("the state of an environment", () => {
  it("is the worst that is known of it", () => {
    const version = "a".repeat(64);
    expect(healthOf(undefined)).toEqual(["idle", "Nothing live"]);
    expect(healthOf({ version })).toEqual(["good", "Live"]);
    expect(healthOf({ version, locked: true })).toEqual(["good", "Live, locked"]);
    expect(healthOf({ version, locked: true, paused: true })).toEqual(["warn", "Paused"]);
    expect(healthOf({ version, locked: true, canary: { share: 10 } })).toEqual(["busy", "Live, canary 10 %"]);
    expect(healthOf({ version, paused: {}, canary: { share: 10 } })).toEqual(["warn", "Paused"]);
    expect(healthOf({ version, paused: {}, damaged: { count: 1 } })).toEqual(["bad", "Damaged"]);
    expect(healthOf({ version: null, paused: null, damaged: null })).toEqual(["idle", "Nothing live"]);
  });
});

describe("the damage of a version", () => {
  it("is that of its files, or of the whole version where that cannot be loaded", () => {
    const [files, error] = [["a.png"], "its manifest cannot be read"];
    expect(damageText({ count: 1, files })).toBe("1 file is damaged");
    expect(damageText({ count: 2, files, in_memory: true })).toBe("2 files are damaged on the disk, and served from memory");
    expect(damageText({ count: 0, files: [], error, in_memory: true })).toBe("The version is served from memory, and cannot be loaded again");
    expect(damageText({ count: 0, files: [], error })).toBe("The version cannot be loaded");
    expect(damageText({ count: 1, files: ["_headers"], error })).toBe("The version cannot be loaded");
  });
});

describe("the words of states", () => {
  const page = fs.readFileSync(path.join(import.meta.dirname, "../../edge/control/src/admin/openapi.yaml"), "utf8");
  /** The words that a schema allows for a property. */
  const words = (schema: string, property: string) => {
    const text = page.split(new RegExp(`^    ${schema}:$`, "m")).at(-1)?.split(/^    [A-Z]\w+:$/m)[0] ?? "";
    const found = new RegExp(`^ +${property}:[^]*?enum: \\[([^\\]]+)\\]`, "m").exec(text)?.[1];
    return found?.replaceAll('"', "").split(", ").sort() ?? [];
  };

  it("are those of the API", () => {
    expect(Object.keys(TONES.step).sort()).toEqual(words("Step", "state"));
    expect(Object.keys(TONES.deploy).sort()).toEqual([...new Set([...words("DeployEntry", "state"), ...words("Deploy", "outcome")])].sort());
    expect(Object.keys(TONES.instance).sort()).toEqual(words("InstanceStatus", "state"));
    expect(Object.keys(TONES.member).sort()).toEqual(words("Backend", "state"));
    expect(Object.keys(TONES.node).sort()).toEqual(words("NodeStatus", "state"));
    expect(Object.keys(TONES.webhook).sort()).toEqual(words("WebhookStatus", "state"));
    expect(Object.keys(TONES.run).sort()).toEqual(words("ScheduleRunEnd", "outcome"));
  });

  it("of webhooks are offered as the API has them", () => {
    const list = (schema: string) => new RegExp(`^    ${schema}:$[^]*?enum: \\[([^\\]]+)\\]`, "m").exec(page)?.[1]?.split(", ");
    expect(EVENTS).toEqual(list("WebhookEvent"));
    expect(FORMATS).toEqual(list("WebhookFormat"));
  });

  it("have a text each", () => {
    for (const word of [...words("InstanceStatus", "state"), ...words("Backend", "state"), ...words("DesiredState", "desired")]) {
      expect(t.backend.states[word], word).toBeDefined();
    }
    for (const word of words("ScheduleRunEnd", "outcome")) expect(t.backend.runs[word], word).toBeDefined();
    for (const word of words("Deploy", "kind")) expect((t.kinds as Record<string, string>)[word], word).toBeDefined();
    for (const word of [...words("DeployEntry", "state"), ...words("Deploy", "outcome")]) expect((t.outcomes as Record<string, string>)[word], word).toBeDefined();
    for (const word of words("NodeStatus", "state")) expect((t.nodes.states as Record<string, string>)[word], word).toBeDefined();
    for (const word of words("AuditEntry", "by")) expect((t.audit.by as Record<string, string>)[word], word).toBeDefined();
    for (const word of words("WebhookStatus", "state")) expect(m.webhooks.webhookStates[word], word).toBeDefined();
    for (const word of words("WebhookDelivery", "state")) expect(m.webhooks.states[word], word).toBeDefined();
    expect(Object.keys(m.integrity.modes).sort()).toEqual(words("LiveIntegrity", "mode"));
    for (const word of words("LiveLogEntry", "kind")) expect((t.kinds as Record<string, string>)[word], word).toBeDefined();
    expect(toneOf("node", "of a later edge")).toBe("idle");
  });
});

describe("a certificate", () => {
  const day = 86_400_000;

  it("that was not renewed in time is told before its end", () => {
    expect(toneOfCertificate(60 * day, 0)).toBe("good");
    expect(toneOfCertificate(13 * day, 0)).toBe("warn");
    expect(toneOfCertificate(day, day)).toBe("bad");
  });
});
