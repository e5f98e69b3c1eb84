// Browsers by their names.
import { describe, expect, it } from "vitest";
import { browserName } from "../src/user_agent.ts";

describe("a browser", () => {
  it("is named with its system", () => {
    const webkit = "AppleWebKit/537.36 (KHTML, like Gecko)";
    const named: [string, string][] = [
      [`Mozilla/5.0 (X11; Linux x86_64) ${webkit} Chrome/141.0.0.0 Safari/537.36`, "Chrome on Linux"],
      [`Mozilla/5.0 (X11; Linux x86_64) ${webkit} HeadlessChrome/141.0.0.0 Safari/537.36`, "Chrome on Linux"],
      [`Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${webkit} Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0`, "Edge on Windows"],
      [`Mozilla/5.0 (Linux; Android 10; K) ${webkit} Chrome/141.0.0.0 Mobile Safari/537.36`, "Chrome on Android"],
      ["Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:143.0) Gecko/20100101 Firefox/143.0", "Firefox on macOS"],
      ["Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1", "Safari on iPhone"],
      ["Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15", "Safari on macOS"],
    ];
    for (const [userAgent, name] of named) expect(browserName(userAgent)).toBe(name);
  });

  it("that is unknown is shown as it is", () => {
    expect(browserName("curl/8.5.0")).toBe("curl/8.5.0");
    expect(browserName("")).toBe("");
  });
});
