// What is said where something else went live between the look and the click.
import { describe, expect, it } from "vitest";
import { problemFrom, Refused } from "../src/client.ts";
import { meanwhile } from "../src/meanwhile.ts";

describe("a refusal", () => {
  const moved = { title: "", status: 409, code: "live_moved", detail: "Another version is live." };
  const told = (problem: ConstructorParameters<typeof Refused>[0]) => problemFrom(meanwhile(new Refused(problem)));

  it("of one that came too late names what is live by now", () => {
    const version = "c".repeat(64);
    expect(told({ ...moved, live: { environment: "staging", version } })).toMatchObject({
      code: "live_moved",
      detail: "Meanwhile cccccccccccc went live in staging. Nothing was changed.",
    });
    expect(told({ ...moved, live: { environment: "prod", version: null } }).detail).toBe("Meanwhile nothing is live in prod any more. Nothing was changed.");
  });

  it("of another kind stays as it is", () => {
    expect(told(moved)).toEqual(moved);
    expect(told({ ...moved, code: "locked" }).code).toBe("locked");
    const fault = new TypeError("x");
    expect(meanwhile(fault)).toBe(fault);
  });
});
