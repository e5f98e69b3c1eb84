// Public keys of signers, as OpenSSH writes them: what is one, what it is called, and its fingerprint.

export interface SignerKey {
  text: string;
  /** The key itself, without the kind before it and the comment behind it. */
  base64: string;
  comment: string;
}

/** The parts of a key; `null` for what the edge would refuse. */
export function keyOf(line: string): SignerKey | null {
  const text = line.trim();
  const [, base64 = "", comment = ""] = /^ssh-ed25519 ([A-Za-z0-9+/]+={0,2})(?: (.*))?$/.exec(text) ?? [];
  return base64.length === KEY_CHARACTERS && text.length <= 300 ? { text, base64, comment: comment.trim() } : null;
}

/** A key of this kind has 51 bytes. */
const KEY_CHARACTERS = 68;

/** The keys of lines, each once; `null` if one of them is none. */
export function keysOf(lines: string): SignerKey[] | null {
  const found = new Map<string, SignerKey>();
  for (const line of lines.split("\n").filter((one) => one.trim())) {
    const key = keyOf(line);
    if (!key) return null;
    found.set(key.base64, key);
  }
  return [...found.values()];
}

/** As `ssh-keygen -l` prints it. */
export async function fingerprintOf(key: SignerKey): Promise<string> {
  const bytes = Uint8Array.from(atob(key.base64), (character) => character.charCodeAt(0));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return `SHA256:${btoa(String.fromCharCode(...hash)).replace(/=+$/, "")}`;
}
