// The end of a certificate.
import { describe, expect, it } from "vitest";
import { toneOf } from "../src/certificate.ts";

describe("a certificate", () => {
  const day = 86_400_000;

  it("that was not renewed in time is told before its end", () => {
    expect(toneOf(60 * day, 0)).toBe("good");
    expect(toneOf(13 * day, 0)).toBe("warn");
    expect(toneOf(day, day)).toBe("bad");
  });
});
