// Canaries: what is refused while one runs, and the steps as a person types them.
import { describe, expect, it } from "vitest";
import { planFlags, planOf, refusedBy, shareOf } from "../src/canary.ts";

describe("a canary", () => {
  it("is why nothing else goes live", () => {
    expect(refusedBy(undefined)).toBeNull();
    expect(refusedBy(null)).toBeNull();
    expect(refusedBy({ version: "080413155e60".padEnd(64, "0"), share: 10 })).toContain("10 % of the visitors get 080413155e60");
  });

  it("has a share from 1 to 99", () => {
    expect(["1", " 25 % ", "99"].map(shareOf)).toEqual([1, 25, 99]);
    for (const typed of ["", "0", "00", "100", "-1", "1.5", "ten"]) expect(shareOf(typed), typed).toBeNull();
  });

  it("takes steps that rise", () => {
    expect(planOf("", "5m")).toBeNull();
    expect(planOf("25, 50 100", "10m")).toEqual({ shares: [25, 50, 100], every_s: 600 });
    for (const typed of ["50 25", "25 25", "0 5", "5 101", "a", "5 x", Array.from({ length: 21 }, (_, index) => index + 1).join(" ")]) {
      expect(planOf(typed, "5m"), typed).toBeUndefined();
    }
    expect(planOf("25", "never")).toBeUndefined();
    expect(planFlags(planOf("25 100", "1h"))).toEqual([["--auto", "25,100"], ["--every", "1h"]]);
    expect(planFlags(null)).toEqual([]);
  });
});
