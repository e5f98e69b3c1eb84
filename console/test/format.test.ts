// Numbers, moments and ids as a person reads them.
import { describe, expect, it } from "vitest";
import { ago, brief, bytes, change, count, duration, percent, shortId } from "../src/format.ts";

const plain = (text: string) => text.replaceAll("\u202f", " ");

describe("figures", () => {
  it("have units that fit", () => {
    expect([0, 999, 1000, 15_400, 999_600, 34e6].map((value) => plain(bytes(value)))).toEqual(["0 B", "999 B", "1.0 kB", "15 kB", "1.0 MB", "34 MB"]);
    expect([7, 1234, 45_000, 2.5e9].map((value) => plain(brief(value)))).toEqual(["7", "1.2 k", "45 k", "2.5 G"]);
    expect([0, 0.4, 0.1 + 0.2, 2.04, 7, 12, 1500, 59_900, 61_000, 3_700_000, 90_000_000].map((value) => plain(duration(value)))).toEqual(["0 ms", "0.4 ms", "0.3 ms", "2 ms", "7 ms", "12 ms", "1.5 s", "59 s", "1 min 1 s", "1 h 1 min", "1 d"]);
    expect(count(1234567)).toBe("1,234,567");
    expect(plain(change(100, 90))).toBe("−10 B");
    expect(plain(change(0, 90))).toBe("+90 B");
    expect([percent(1, 0), percent(1, 2), percent(1, 150), percent(1, 1e6)].map(plain)).toEqual(["0 %", "50 %", "0.7 %", "<0.1 %"]);
  });
});

describe("moments", () => {
  const now = Date.UTC(2026, 10, 26, 12);
  it("are given by their distance, before and after", () => {
    const shown = [0, 59_000, 61_000, 2 * 3_600_000, 3 * 86_400_000, -90_000, -30_000, -5000].map((age) => plain(ago(now - age, now)));
    expect(shown).toEqual(["just now", "just now", "1 min ago", "2 h ago", "3 d ago", "in 1 min", "in a moment", "just now"]);
    expect(ago(now - 40 * 86_400_000, now)).toContain("2026");
  });
});

describe("ids", () => {
  it("are as long as in hostnames", () => expect(shortId("0123456789abcdef")).toBe("0123456789ab"));
});
