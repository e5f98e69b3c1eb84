// Rules about the sources themselves: no markup out of texts, nothing in storage, short files that say what they are.
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";

const root = path.join(import.meta.dirname, "..");
const below = (folder: string) =>
  fs.readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" }).map((name) => path.join(folder, name));
const sources = ["src", "test", "browser"].flatMap(below).filter((name) => /\.(ts|tsx|mjs|css)$/.test(name));
const read = (name: string) => fs.readFileSync(path.join(root, name), "utf8");

describe("the sources", () => {
  it("make no markup and no code out of texts, and keep nothing in storage", () => {
    const forbidden = /innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|localStorage|sessionStorage|indexedDB|document\.cookie/;
    for (const name of sources.filter((one) => one.startsWith("src"))) expect(`${name} ${forbidden.exec(read(name))?.[0] ?? ""}`).toBe(`${name} `);
  });

  it("have files of 500 lines at most, each with what it is on its first line", () => {
    expect(sources.length).toBeGreaterThan(40);
    for (const name of sources) {
      expect(`${name} ${read(name).split("\n").length <= 501}`).toBe(`${name} true`);
      expect(read(name)).toMatch(/^(\/\/|\/\*) [A-Z]/);
    }
  });

  it("have functions of 70 lines at most", () => {
    for (const name of sources.filter((one) => /\.tsx?$/.test(one))) {
      for (const [, called, body] of read(name).matchAll(/^(?:export )?(?:async )?function\*? ?(\w+)([^]*?)^}$/gm)) {
        expect(`${name} ${called} ${(body ?? "").split("\n").length <= 70}`).toBe(`${name} ${called} true`);
      }
    }
  });

  it("name no registry in the lock", () => {
    expect(read("package-lock.json")).not.toContain('"resolved"');
  });
});
