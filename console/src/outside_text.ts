// What comes from bundles, commits and people is shown as the characters that it is: those that a person cannot see,
// or that would reorder what stands beside them, become visible.

/** A part of a text: as it is, or the name of a character that is not shown. */
export interface Part {
  text: string;
  hidden: boolean;
}

// Controls but line feed and tab; soft hyphen; marks, embeddings, overrides and isolates of direction; spaces and joiners
// of no width; separators of lines; variation selectors of the supplement, tags, and halves of a pair.
const HIDDEN =
  // eslint-disable-next-line no-control-regex
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]|\p{Surrogate}/u;
// Joiners belong to words of some scripts and to emoji, and hide between letters of ASCII.
const JOINER = /[\u200c\u200d]/;
const ASCII = /^[\u0000-\u007f]$/;

function name(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** The parts of a text; `lines` says whether line feeds and tabs are kept. */
export function parts(text: string, lines = false): Part[] {
  const found: Part[] = [];
  let plain = "";
  let before = "";
  for (const character of text) {
    const breaks = !lines && (character === "\n" || character === "\t");
    const joins = JOINER.test(character) && (before === "" || ASCII.test(before));
    if (breaks || joins || HIDDEN.test(character)) {
      if (plain) found.push({ text: plain, hidden: false });
      plain = "";
      found.push({ text: name(character), hidden: true });
    } else {
      plain += character;
    }
    before = character;
  }
  if (plain) found.push({ text: plain, hidden: false });
  return found;
}

/** The same as one text, for titles, labels and what is copied. */
export function visible(text: string): string {
  return parts(text)
    .map((part) => (part.hidden ? `⟨${part.text}⟩` : part.text))
    .join("");
}

/** An address that a link may lead to: `https`, or `http` of a CI system; anything else is shown and leads nowhere. */
export function safeLink(text: string | null | undefined): string | undefined {
  if (!text) return undefined;
  try {
    const url = new URL(text);
    if ((url.protocol === "https:" || url.protocol === "http:") && !url.username && !url.password) return url.href;
  } catch {
    // It is no address.
  }
  return undefined;
}
