// Finds the program of this platform, which a package of its own holds, and runs it: its input and output, signals and
// exit code are those of this process.
"use strict";

const { spawn } = require("node:child_process");
const { constants } = require("node:os");
const { dirname, join } = require("node:path");

const platforms = require("./platforms.json");

/** The exit code for what is wrong before the program is started: the one for wrong use. */
const MISUSED = 2;
/** The signals by which a terminal ends what it runs: it sends them to this process and to the program. */
const OF_TERMINAL = ["SIGINT", "SIGQUIT"];
/** The signals that somebody sends to this process alone. */
const OF_OTHERS = ["SIGHUP", "SIGTERM"];

/** What is wrong, as lines for a person. */
class Missing extends Error {}

/**
 * The path of the program for a platform; `resolve` finds a file of a package, as `require.resolve` does.
 *
 * Throws `Missing` where there is no program for the platform, or its package is not installed.
 */
function find(platform = process.platform, arch = process.arch, resolve = require.resolve) {
  const key = `${platform}-${arch}`;
  if (!Object.hasOwn(platforms, key)) {
    const names = Object.values(platforms).map(({ name }) => name);
    throw new Missing(
      `There is no program for this platform, ${key}, but for ${names.join("; ")}.\n` +
        "`cargo build --release --locked -p devanture` makes one of the sources.",
    );
  }
  let manifest;
  try {
    manifest = resolve(`@devanture/${key}/package.json`);
  } catch {
    throw new Missing(
      `The package @devanture/${key}, which holds the program, is not installed.\n` +
        "It is an optional dependency: install again without --no-optional or --omit=optional, and here, if\n" +
        "node_modules comes from another machine or system. Where its registry is a mirror, it needs the package, too.",
    );
  }
  return join(dirname(manifest), "bin", platform === "win32" ? "devanture.exe" : "devanture");
}

/** The sentence for an error of starting `program`. */
function notStarted(program, error) {
  switch (error.code) {
    case "EACCES":
      return `${program} may not be run: its permissions, or those of its file system, forbid it.`;
    case "ENOENT":
      return `${program} is missing, or this system lacks the library that it is made for: on Alpine, that is glibc.`;
    default:
      return `${program} cannot be run: ${error.message}.`;
  }
}

function fail(text) {
  process.stderr.write(`devanture: ${text}\n`);
  process.exitCode = MISUSED;
}

/** Runs the program with these arguments, and ends this process as the program ends. */
function run(args) {
  let program;
  try {
    program = find();
  } catch (error) {
    if (!(error instanceof Missing)) throw error;
    fail(error.message);
    return;
  }
  let child;
  const listeners = new Map();
  // A terminal sends its signals to the program, too: one that came twice would count twice.
  const hasTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  // Before the program is started: a signal in between would end this process alone. They are called when this function
  // has returned.
  for (const signal of [...OF_TERMINAL, ...OF_OTHERS]) {
    const isPassed = process.platform !== "win32" && !(hasTerminal && OF_TERMINAL.includes(signal));
    listeners.set(signal, () => isPassed && child.kill(signal));
    process.on(signal, listeners.get(signal));
  }
  const stopListening = () => {
    for (const [name, listener] of listeners) process.off(name, listener);
  };
  try {
    child = spawn(program, args, { stdio: "inherit" });
  } catch (error) {
    // Node throws some of the errors of a start, such as E2BIG and ETXTBSY, and emits the others.
    stopListening();
    fail(notStarted(program, error));
    return;
  }
  child.on("error", (error) => fail(notStarted(program, error)));
  child.on("exit", (code, signal) => {
    stopListening();
    if (signal === null) {
      process.exitCode = code;
      return;
    }
    // It ends in the same way; where a signal does not end it, by the number that shells have for that.
    process.exitCode = 128 + constants.signals[signal];
    process.kill(process.pid, signal);
  });
}

module.exports = { find, Missing, notStarted, run };
