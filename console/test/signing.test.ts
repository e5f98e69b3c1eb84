// Keys of signers, and the log of what was live from its end.
import { describe, expect, it } from "vitest";
import type { LiveLogEntry } from "../src/api_more.ts";
import { type Ask, brokenOf, exported, newest } from "../src/live_log.ts";
import { fingerprintOf, keyOf, keysOf } from "../src/signer_keys.ts";

// The public key of the test vectors of RFC 8032, section 7.1.
const BASE64 = "AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";

describe("a key of a signer", () => {
  it("has a name and a fingerprint", async () => {
    const key = keyOf(` ssh-ed25519 ${BASE64} ada@laptop \n`);
    expect(key).toEqual({ text: `ssh-ed25519 ${BASE64} ada@laptop`, base64: BASE64, comment: "ada@laptop" });
    expect(keyOf(`ssh-ed25519 ${BASE64}`)?.comment).toBe("");
    expect(await fingerprintOf({ text: "", base64: BASE64, comment: "" })).toMatch(/^SHA256:[A-Za-z0-9+/]{43}$/);
  });

  it("of another kind, cut off or private is none", () => {
    for (const line of ["", "ssh-rsa AAAA ada", "ssh-ed25519", `ssh-ed25519 ${BASE64.slice(0, 40)}`, "-----BEGIN OPENSSH PRIVATE KEY-----"]) {
      expect(keyOf(line), line).toBeNull();
    }
  });

  it("is wanted once, and a line that is none spoils the list", () => {
    expect(keysOf(`ssh-ed25519 ${BASE64} ada\n\nssh-ed25519 ${BASE64} again\n`)).toHaveLength(1);
    expect(keysOf("")).toEqual([]);
    expect(keysOf(`ssh-ed25519 ${BASE64} ada\nbob.pub`)).toBeNull();
  });
});

describe("the log of what was live", () => {
  const entry = (number: number): LiveLogEntry => ({
    number,
    previous: number > 1 ? `hash ${number - 1}` : null,
    at_ms: number,
    version: "a".repeat(64),
    settings: 0,
    deploy: String(number),
    kind: "push",
    who: "ci",
    signed_by: [],
    hash: `hash ${number}`,
  });
  /** An edge that keeps the entries from `first` to `last`, and counts how often it is asked. */
  const edge = (first: number, last: number) => {
    const asked = { times: 0 };
    const ask: Ask = async (after, limit) => {
      asked.times += 1;
      const begin = Math.max(first, (after ?? 0) + 1);
      const end = Math.min(last, begin + limit - 1);
      const entries = Array.from({ length: Math.max(0, end - begin + 1) }, (_, index) => entry(begin + index));
      return end < last && entries.length > 0 ? { entries, next: String(end) } : { entries };
    };
    return { ask, asked };
  };
  const all = async (ask: Ask) => {
    const found: LiveLogEntry[] = [];
    for (let cursor: string | null = null; ; ) {
      const page: { items: LiveLogEntry[]; next?: string } = await newest(ask, cursor);
      found.push(...page.items);
      if (page.next === undefined) return found;
      cursor = page.next;
    }
  };

  it("is read from its end, page by page, without an entry twice", async () => {
    for (const [first, last] of [[1, 0], [1, 1], [1, 100], [1, 101], [1, 250], [901, 10_900], [7, 1030]] as const) {
      const { ask } = edge(first, last);
      const found = await all(ask);
      expect(found.map(({ number }) => number)).toEqual(Array.from({ length: last - first + 1 }, (_, index) => last - index));
      expect(brokenOf(found).size).toBe(0);
    }
  });

  it("of any length asks a few times for its end", async () => {
    const { ask, asked } = edge(900_001, 1_900_000);
    expect((await newest(ask, null)).items[0]?.number).toBe(1_900_000);
    expect(asked.times).toBeLessThan(50);
  });

  it("is exported whole, the oldest first", async () => {
    const lines = (await exported(edge(3, 2500).ask)).trimEnd().split("\n");
    expect(lines).toHaveLength(2498);
    expect(JSON.parse(lines[0] ?? "")).toEqual(entry(3));
    expect(await exported(edge(1, 0).ask)).toBe("");
  });

  it("that was changed shows where", () => {
    const entries = [4, 3, 2, 1].map(entry);
    expect([...brokenOf(entries.map((one) => (one.number === 2 ? { ...one, hash: "other" } : one)))]).toEqual([3]);
    expect([...brokenOf(entries.filter(({ number }) => number !== 2))]).toEqual([3]);
  });
});
