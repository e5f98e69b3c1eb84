// Command lines do in a shell what the dialog does, whatever is typed into it.
import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { at, devanture, word } from "../src/command.ts";

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
});
