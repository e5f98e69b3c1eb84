// The command line that does what a dialog does, to be copied into a terminal of a person who runs it there.

// Everything but what a POSIX shell takes as it is. A word that begins with `-` is quoted for the eye alone.
const PLAIN = /^[A-Za-z0-9_./:=@%+,-]+$/;
// Characters that a terminal acts upon, or hides.
// eslint-disable-next-line no-control-regex
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/u;

/** A word of a shell: quoted where it has to be; control characters by `$'…'`, so that a paste runs nothing. */
export function word(text: string): string {
  if (PLAIN.test(text)) return text;
  if (!UNSEEN.test(text)) return `'${text.replaceAll("'", "'\\''")}'`;
  let quoted = "";
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (UNSEEN.test(character)) {
      quoted += code <= 0x7f ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`;
    } else if (character === "'" || character === "\\") {
      quoted += `\\${character}`;
    } else {
      quoted += character;
    }
  }
  return `$'${quoted}'`;
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, "0");
}

/** A part of a command: a word, a flag with its value, or nothing. */
export type Argument = string | [flag: string, value: string | number | null | undefined] | null | false;

/** `devanture` with these arguments; flags without a value are left out. */
export function devanture(...given: Argument[]): string {
  const words = ["devanture"];
  for (const argument of given) {
    if (!argument) continue;
    if (typeof argument === "string") {
      words.push(word(argument));
    } else if (argument[1] !== null && argument[1] !== undefined && argument[1] !== "") {
      words.push(argument[0], word(String(argument[1])));
    }
  }
  return words.join(" ");
}

/** The flags that name an environment of an app; `prod` is the default. */
export function at(app: string, env?: string): Argument[] {
  return [["--app", app], env && env !== "prod" ? ["--env", env] : null];
}

/** A call of the API without `devanture`. curl takes an empty CURL_CA_BUNDLE as none, so that it works with any certificate. */
export function curl(method: string, address: string, body?: unknown): string {
  const json = body === undefined ? "" : `--json ${word(JSON.stringify(body))} `;
  return `CURL_CA_BUNDLE="$DEVANTURE_CA" curl -X ${method} -H "Authorization: Bearer $DEVANTURE_TOKEN" ${json}${word(address)}`;
}

/** A lifetime as the command line takes it: in the largest unit that leaves nothing out. */
export function lifetime(seconds: number): string {
  const units: [name: string, seconds: number][] = [["d", 86_400], ["h", 3600], ["m", 60]];
  const [name, size] = units.find(([, one]) => seconds >= one && seconds % one === 0) ?? ["s", 1];
  return `${Math.floor(seconds / size)}${name}`;
}
