// Command lines do in a shell what the dialog does, whatever is typed into it.
import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { at, curl, devanture, lifetime, word } from "../src/command.ts";

describe("a command line", () => {
  it("names the app, and the environment unless it is prod", () => {
    expect(devanture("rollback", ...at("shop", "prod"))).toBe("devanture rollback --app shop");
    expect(devanture("rollback", "4f2a91", ...at("shop", "staging"))).toBe(
      "devanture rollback 4f2a91 --app shop --env staging",
    );
  });

  it("leaves out flags without a value", () => {
    expect(devanture("lock", ["--reason", ""], null, false, ["--x", undefined])).toBe("devanture lock");
  });

  it("is read by a shell as the words that were meant", () => {
    const reasons = ["it's down", "$(reboot)", "`id`; rm -rf /", 'a "b" \\ c', "--force", "a\nb", "a\u0007\u001b[2Jb", "é ß 日", "a'b\nc\\d", "\u202eabc"];
    for (const reason of reasons) {
      const read = execFileSync("bash", ["--noprofile", "--norc", "-c", `printf '%s' ${word(reason)}`], {
        encoding: "utf8",
        env: { LC_ALL: "C.UTF-8", PATH: process.env["PATH"] },
      });
      expect(read).toBe(reason);
      // Nothing that a terminal acts upon is pasted.
      // eslint-disable-next-line no-control-regex
      expect(word(reason)).not.toMatch(/[\u0000-\u001f\u007f\u202e]/);
    }
  });

  it("names a lifetime exactly", () => {
    expect([86_400, 7 * 86_400, 7200, 604_740, 61].map(lifetime)).toEqual(["1d", "7d", "2h", "10079m", "61s"]);
  });

  it("calls the API on a self-signed edge, too", () => {
    expect(curl("PUT", "https://edge:8444/v1/apps/a/confirmations", { confirm: ["token"] })).toBe(
      `CURL_CA_BUNDLE="$DEVANTURE_CA" curl -X PUT -H "Authorization: Bearer $DEVANTURE_TOKEN" --json '{"confirm":["token"]}' https://edge:8444/v1/apps/a/confirmations`,
    );
    expect(curl("DELETE", "https://edge:8444/v1/sessions/1")).not.toContain("--json");
  });
});
