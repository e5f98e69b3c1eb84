// Checks that what a stranger sent has the shape that a function declares.
//
// A shape is one of
//   "string"            at most 1,000 characters
//   "number"            "integer"            "boolean"
//   ["string"]          a list of at most 100 of that shape
//   { name: "string" }  an object with exactly these members; the name of one that may be missing ends in `?`

const STRING_LENGTH_MAX = 1_000;
const LIST_LENGTH_MAX = 100;

const SIMPLE = {
  string: ["a text", (value) => typeof value === "string" && value.length <= STRING_LENGTH_MAX],
  number: ["a number", (value) => Number.isFinite(value)],
  integer: ["a whole number", (value) => Number.isSafeInteger(value)],
  boolean: ["true or false", (value) => typeof value === "boolean"],
};

/** Says what is wrong with `value`, called `what` in the sentence; nothing if it has the shape. */
export function mismatch(value, shape, what) {
  if (typeof shape === "string") {
    const [article, holds] = SIMPLE[shape];
    return holds(value) ? undefined : `${what} must be ${article}`;
  }
  if (Array.isArray(shape)) {
    if (!Array.isArray(value)) return `${what} must be a list`;
    if (value.length > LIST_LENGTH_MAX) return `${what} must have at most ${LIST_LENGTH_MAX} members`;
    return first(value, (member, at) => mismatch(member, shape[0], `member ${at + 1} of ${what}`));
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return `${what} must be an object`;
  const known = new Map(Object.entries(shape).map(([name, inner]) => [name.replace(/\?$/, ""), [name, inner]]));
  if (Object.keys(value).some((name) => !known.has(name))) return `${what} has a member that is not known`;
  return first(known, ([name, [declared, inner]]) => {
    if (Object.hasOwn(value, name)) return mismatch(value[name], inner, `${name} of ${what}`);
    return declared.endsWith("?") ? undefined : `${what} needs the member ${name}`;
  });
}

/** Whether that is a shape at all: a slip in a declaration should stop the start, not a request. */
export function isShape(shape) {
  if (typeof shape === "string") return Object.hasOwn(SIMPLE, shape);
  if (Array.isArray(shape)) return shape.length === 1 && isShape(shape[0]);
  return typeof shape === "object" && shape !== null && Object.values(shape).every(isShape);
}

function first(list, say) {
  let at = 0;
  for (const member of list) {
    const said = say(member, at++);
    if (said !== undefined) return said;
  }
  return undefined;
}
