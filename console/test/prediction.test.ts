// What a dialog showed, against what would happen now.
import { describe, expect, it } from "vitest";
import { problemFrom } from "../src/client.ts";
import { checkSame } from "../src/prediction.ts";

describe("a prediction", () => {
  const [a, b, c] = ["a", "b", "c"].map((letter) => letter.repeat(64)) as [string, string, string];
  const refusal = (shown: Parameters<typeof checkSame>[0], now: Parameters<typeof checkSame>[1]) => {
    try {
      checkSame(shown, now, "prod");
      return null;
    } catch (error) {
      return problemFrom(error);
    }
  };

  it("that still holds is acted upon", () => {
    expect(refusal({ version: a, previous: b }, { version: a, previous: b })).toBeNull();
    expect(refusal({ version: a, previous: null }, { version: a, previous: null })).toBeNull();
  });

  it("that holds no more is refused, with what changed", () => {
    expect(refusal({ version: a, previous: b }, { version: c, previous: b })).toMatchObject({
      code: "changed_meanwhile",
      detail: "Meanwhile it would be another version: cccccccccccc. Nothing was changed.",
    });
    expect(refusal({ version: a, previous: b }, { version: b, previous: c })?.detail).toContain("cccccccccccc went live in prod");
    expect(refusal(null, { version: a, previous: b })?.code).toBe("changed_meanwhile");
  });
});
