// What the tests share: folders and processes that end with them, and a WebSocket client that writes frames by hand.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { isAbsolute, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const PATIENCE_MS = 30_000;

const afterwards = new WeakMap();

/** Has something done after a test; what was begun last is ended first. */
export function after(t, end) {
  if (!afterwards.has(t)) {
    const ends = [];
    afterwards.set(t, ends);
    t.after(async () => {
      for (const one of ends.reverse()) await one();
    });
  }
  afterwards.get(t).push(end);
}

/** A folder that goes with the test. */
export async function folder(t) {
  const path = await mkdtemp(join(tmpdir(), "service-"));
  after(t, () => rm(path, { recursive: true, force: true }));
  return path;
}

/** Waits until `look` gives something true, and gives that. */
export async function eventually(look, what = look.toString()) {
  for (const end = Date.now() + PATIENCE_MS; ; ) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A process of Node whose lines can be waited for. It ends with the test. */
export function start(t, file, { args = [], env = {} } = {}) {
  const path = isAbsolute(file) ? file : fileURLToPath(new URL(file, import.meta.url));
  const stdio = ["pipe", "pipe", "inherit"];
  const child = spawn(process.execPath, [path, ...args], { env: { ...process.env, ...env }, stdio });
  const ended = once(child, "exit");
  const lines = [];
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  after(t, async () => {
    child.kill("SIGKILL");
    await ended;
  });
  return { child, ended, lines, line: (form) => eventually(() => lines.find((line) => form.test(line)), `${form}`) };
}

/** Calls a function of a service as anybody can: the status, and the body. */
export async function call(origin, path, args) {
  const answer = await fetch(`${origin}/api/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(args),
  });
  return { status: answer.status, ...(await answer.json()) };
}

/** A frame as a client sends it; `change` spoils its bytes before they go. */
export function frame(kind, payload = "", { isLast = true, isMasked = true, change = () => {} } = {}) {
  const bytes = Buffer.from(payload);
  const long = bytes.length > 65_535 ? 8 : bytes.length > 125 ? 2 : 0;
  const head = Buffer.alloc(2 + long);
  head[0] = (isLast ? 0x80 : 0) | kind;
  head[1] = (isMasked ? 0x80 : 0) | (long === 8 ? 127 : long === 2 ? 126 : bytes.length);
  if (long === 2) head.writeUInt16BE(bytes.length, 2);
  if (long === 8) head.writeBigUInt64BE(BigInt(bytes.length), 2);
  const mask = isMasked ? randomBytes(4) : Buffer.alloc(0);
  const sent = Buffer.concat([head, mask, isMasked ? bytes.map((byte, at) => byte ^ mask[at & 3]) : bytes]);
  change(sent);
  return sent;
}

/** A connection of bytes: `head` is what the server answered to the handshake, `next` its next frame. */
export async function rawSocket(t, origin, { path = "/api/game/events", headers = {}, first = "", ...options } = {}) {
  const { hostname, port, host } = new URL(origin);
  const socket = connect({ port: Number(port), host: hostname, ...options });
  if (t) after(t, () => socket.destroy());
  const all = {
    host, upgrade: "websocket", connection: "Upgrade", "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", ...headers,
  };
  let bytes = Buffer.alloc(0);
  let isEnded = false;
  socket.on("data", (more) => (bytes = Buffer.concat([bytes, more])));
  socket.on("error", () => {});
  socket.on("close", () => (isEnded = true));
  const said = Object.entries(all).filter(([, value]) => value !== undefined);
  const lines = said.map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(Buffer.concat([Buffer.from(`GET ${path} HTTP/1.1\r\n${lines.join("")}\r\n`), Buffer.from(first)]));
  const unlessEnded = (found) => {
    if (!found && isEnded) throw new Error("the connection has ended");
    return found;
  };
  const whole = () => bytes.includes("\r\n\r\n") && bytes.toString("latin1").split("\r\n\r\n")[0];
  const head = await eventually(() => unlessEnded(whole()), "an answer");
  bytes = bytes.subarray(head.length + 4);
  const take = () => {
    if (bytes.length < 2) return undefined;
    const long = bytes[1] === 126 ? 2 : 0;
    if (bytes.length < 2 + long) return undefined;
    const length = long ? bytes.readUInt16BE(2) : bytes[1];
    if (bytes.length < 2 + long + length) return undefined;
    const [kind, payload] = [bytes[0] & 15, bytes.subarray(2 + long, 2 + long + length)];
    bytes = bytes.subarray(2 + long + length);
    return { kind, text: payload.toString(), code: kind === 8 ? payload.readUInt16BE() : undefined };
  };
  return {
    head, socket,
    send: (...frames) => socket.write(Buffer.concat(frames)),
    next: () => eventually(() => unlessEnded(take()), "a frame"),
    ended: () => eventually(() => isEnded, "the end"),
  };
}

/** As much of a browser's WebSocket as the helper needs; Node 20 has none. */
export class TinyWebSocket {
  static opened = 0;
  readyState = 0;
  #raw;

  constructor(url) {
    this.url = url;
    TinyWebSocket.opened += 1;
    this.#run().catch(() => this.#end(1006));
  }

  async #run() {
    const { pathname, protocol, host } = new URL(this.url);
    this.#raw = await rawSocket(undefined, `${protocol.replace("ws", "http")}//${host}`, { path: pathname });
    if (!this.#raw.head.includes(" 101 ")) return this.#end(1006);
    this.#raw.socket.on("close", () => this.#end(1006));
    this.readyState = 1;
    this.onopen?.({});
    while (this.readyState === 1) {
      const { kind, text, code } = await this.#raw.next();
      if (kind === 1) this.onmessage?.({ data: text });
      else if (kind === 9) this.#raw.send(frame(10, text));
      else if (kind === 8) this.#end(code);
    }
  }

  #end(code) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.#raw?.socket.destroy();
    this.onclose?.({ code });
  }

  send(text) {
    this.#raw.send(frame(1, text));
  }

  close() {
    this.#end(1000);
  }
}
