// What comes from outside is shown as the characters that it is.
import { describe, expect, it } from "vitest";
import { parts, safeLink, visible } from "../src/outside_text.ts";

describe("a text from outside", () => {
  it("stays as it is where all of it can be seen", () => {
    for (const text of ["", "Fix the cart", "Größe", "שלום", "日本", "👩‍👩‍👧", "<b>&amp;</b>", "می‌خواهم"]) {
      expect(visible(text)).toBe(text);
    }
  });

  it("shows what would reorder it", () => {
    expect(visible("invoice\u202efdp.exe")).toBe("invoice⟨U+202E⟩fdp.exe");
    for (const code of [0x61c, 0x200e, 0x200f, 0x202a, 0x202b, 0x202c, 0x202d, 0x2066, 0x2067, 0x2068, 0x2069]) {
      expect(parts(`a${String.fromCodePoint(code)}b`).map((part) => part.hidden)).toEqual([false, true, false]);
    }
  });

  it("shows controls, spaces of no width, tags and halves of a pair", () => {
    for (const code of [0, 7, 8, 0x1b, 0x7f, 0x85, 0xad, 0x200b, 0x2060, 0xfeff, 0xe0041, 0xd800]) {
      const name = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
      expect(visible(`a${String.fromCodePoint(code)}b`)).toBe(`a⟨${name}⟩b`);
    }
  });

  it("shows joiners between letters of ASCII", () => {
    expect(visible("ad\u200dmin")).toBe("ad⟨U+200D⟩min");
    expect(visible("\u200cadmin")).toBe("⟨U+200C⟩admin");
  });

  it("keeps lines only where they are wanted", () => {
    expect(visible("a\nb")).toBe("a⟨U+000A⟩b");
    expect(parts("a\n\tb", true)).toEqual([{ text: "a\n\tb", hidden: false }]);
    expect(parts("a\rb", true).map((part) => part.hidden)).toEqual([false, true, false]);
  });
});

describe("a link from outside", () => {
  it("leads to the web or nowhere", () => {
    expect(safeLink("https://ci.example/run/1")).toBe("https://ci.example/run/1");
    expect(safeLink("http://ci.example/")).toBe("http://ci.example/");
    for (const bad of ["javascript:alert(1)", " javascript:alert(1)", "java\nscript:x", "data:text/html,x", "//x", "/x", "", null]) {
      expect(safeLink(bad)).toBeUndefined();
    }
    expect(safeLink("https://shop.example@evil.example/")).toBeUndefined();
  });
});
