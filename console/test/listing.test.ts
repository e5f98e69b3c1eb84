// Lists that are loaded page by page: what comes next where a page could not be loaded.
import { describe, expect, it } from "vitest";
import { failedPage } from "../src/state.ts";

const problem = { title: "away", status: 0, code: "unreachable", detail: "away" };

describe("a page that could not be loaded", () => {
  it("comes next, behind those that were", () => {
    expect(failedPage("audit", [1, 2], "2", problem)).toEqual({ key: "audit", items: [1, 2], next: "2", problem });
  });

  it("as the first one leaves nothing to go on with: a list never begins in its middle", () => {
    expect(failedPage("audit", [], null, problem)).toEqual({ key: "audit", items: [], next: null, problem });
  });
});
