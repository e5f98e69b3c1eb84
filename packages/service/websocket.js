// The server's side of a WebSocket (RFC 6455), as far as events need it: whole messages of text, of bounded size.
//
// A message in several frames and a binary one are refused with 1003; so is, with 1002, what breaks the protocol.

import { createHash } from "node:crypto";

const MESSAGE_BYTES_MAX = 64 * 1_024;
/** Bytes that may wait for a client that reads slowly, before it is given up. */
const WAITING_BYTES_MAX = 1_024 * 1_024;
/** How long the other side may take to end its connection. */
const CLOSE_MS_MAX = 2_000;
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const [TEXT, CLOSE, PING, PONG] = [1, 8, 9, 10];

/** Why a request does not become a WebSocket, as a status; nothing if it does. */
function obstacle({ method, headers }) {
  const names = (header) => (header ?? "").toLowerCase().split(/\s*,\s*/);
  const key = headers["sec-websocket-key"] ?? "";
  if (method !== "GET" || !names(headers.upgrade).includes("websocket")) return "400 Bad Request";
  if (!names(headers.connection).includes("upgrade")) return "400 Bad Request";
  if (headers["sec-websocket-version"] !== "13") return "426 Upgrade Required\r\nsec-websocket-version: 13";
  if (!/^[A-Za-z0-9+/]{22}==$/.test(key)) return "400 Bad Request";
  // A browser always says whose page it is that connects; what says nothing is no browser, and has no cookies to lend.
  const { origin, host } = headers;
  if (origin !== undefined && !sameHost(origin, host)) return "403 Forbidden";
  return undefined;
}

function sameHost(origin, host) {
  try {
    const { protocol, host: of } = new URL(origin);
    return of !== "" && of === new URL(`${protocol}//${host}`).host;
  } catch {
    return false;
  }
}

/**
 * Answers the handshake. Gives the connection, with `send(text)`, `ping()` and `close(code, reason)`, or nothing if it
 * was refused. `text` is called for each message, `closed` once at the end.
 */
export function accept(request, socket, head, { text, closed }) {
  const refused = obstacle(request);
  if (refused) {
    refuse(socket, refused);
    return undefined;
  }
  socket.on("error", () => {});
  const proof = createHash("sha1").update(request.headers["sec-websocket-key"] + GUID).digest("base64");
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n" +
      `sec-websocket-accept: ${proof}\r\n\r\n`,
  );
  socket.setTimeout(0);
  socket.setNoDelay(true);
  return new Connection(socket, head, text, closed);
}

/** Answers a handshake with a status, and ends the connection, also of a client that does not end it. */
export function refuse(socket, status) {
  socket.on("error", () => {});
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
  destroyLater(socket);
}

/** Node has no time of its own for a connection that is no request's any more. */
function destroyLater(socket) {
  const timer = setTimeout(() => socket.destroy(), CLOSE_MS_MAX).unref();
  socket.once("close", () => clearTimeout(timer));
}

class Connection {
  #socket;
  #text;
  #pending;
  #isClosing = false;
  #isAnswering = true;
  #ended;

  constructor(socket, head, text, closed) {
    this.#socket = socket;
    this.#text = text;
    this.#pending = head;
    this.#ended = new Promise((resolve) => socket.once("close", resolve)).then(closed);
    socket.on("data", (bytes) => this.#take(Buffer.concat([this.#pending, bytes])));
    socket.on("end", () => socket.end());
    // What came with the handshake is looked at when the caller has the connection in its hands.
    if (head.length > 0) queueMicrotask(() => this.#take(this.#pending));
  }

  send(text) {
    if (!this.#isClosing) this.#write(TEXT, Buffer.from(text));
  }

  /** Asks for a sign of life. A client that gave none since the last time is given up. */
  ping() {
    if (!this.#isAnswering) return this.#socket.destroy();
    this.#isAnswering = false;
    if (!this.#isClosing) this.#write(PING, Buffer.alloc(0));
  }

  /** Says why, and ends the connection. Resolves when it has ended. */
  close(code, reason = "") {
    if (!this.#isClosing) {
      this.#isClosing = true;
      const said = Buffer.alloc(2 + Buffer.byteLength(reason));
      said.writeUInt16BE(code);
      said.write(reason, 2);
      this.#write(CLOSE, said);
      this.#socket.end();
      destroyLater(this.#socket);
    }
    return this.#ended;
  }

  #write(kind, payload) {
    const { length } = payload;
    const long = length > 65_535 ? 8 : length > 125 ? 2 : 0;
    const frame = Buffer.alloc(2 + long);
    frame[0] = 0x80 | kind;
    frame[1] = long === 8 ? 127 : long === 2 ? 126 : length;
    if (long === 2) frame.writeUInt16BE(length, 2);
    if (long === 8) frame.writeBigUInt64BE(BigInt(length), 2);
    this.#socket.write(Buffer.concat([frame, payload]));
    if (this.#socket.writableLength > WAITING_BYTES_MAX) this.#socket.destroy();
  }

  /** Takes all whole frames out of what has come so far. */
  #take(bytes) {
    this.#isAnswering = true;
    while (!this.#isClosing) {
      const frame = readFrame(bytes);
      if (frame === undefined) break;
      if (frame.code) return void this.close(frame.code, frame.reason);
      bytes = bytes.subarray(frame.bytes);
      this.#act(frame);
    }
    this.#pending = this.#isClosing ? Buffer.alloc(0) : bytes;
  }

  #act({ kind, payload }) {
    if (kind === PING) this.#write(PONG, payload);
    else if (kind === CLOSE) this.#closedByPeer(payload);
    else if (kind === TEXT) {
      const text = decoded(payload);
      if (text === undefined) this.close(1007, "not UTF-8");
      else this.#text(text);
    }
  }

  /** A closing frame is answered with its own code, if that is one that may be sent. */
  #closedByPeer(payload) {
    if (payload.length === 0) return void this.close(1000);
    const code = payload.length > 1 ? payload.readUInt16BE() : 0;
    const isDefined = code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code);
    const isCode = isDefined || (code >= 3000 && code < 5000);
    if (!isCode) this.close(1002, "not a code");
    else if (decoded(payload.subarray(2)) === undefined) this.close(1007, "not UTF-8");
    else this.close(code);
  }
}

function decoded(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** The frame at the beginning of the bytes; nothing while it is not whole; a code and a reason if it is refused. */
function readFrame(bytes) {
  if (bytes.length < 2) return undefined;
  const [isLast, reserved, kind] = [bytes[0] >> 7, (bytes[0] >> 4) & 7, bytes[0] & 15];
  const [isMasked, short] = [bytes[1] >> 7, bytes[1] & 127];
  const isControl = kind >= 8;
  if (reserved !== 0) return { code: 1002, reason: "reserved bits" };
  if (!isMasked) return { code: 1002, reason: "not masked" };
  if (![0, 1, 2, CLOSE, PING, PONG].includes(kind)) return { code: 1002, reason: "unknown kind" };
  if (isControl && (!isLast || short > 125)) return { code: 1002, reason: "a control frame is short and whole" };
  if (kind === 0) return { code: 1002, reason: "nothing to continue" };
  if (kind === 2) return { code: 1003, reason: "only text is taken" };
  if (!isLast) return { code: 1003, reason: "only whole messages are taken" };
  const long = short === 127 ? 8 : short === 126 ? 2 : 0;
  if (bytes.length < 2 + long) return undefined;
  const length = long === 8 ? Number(bytes.readBigUInt64BE(2)) : long === 2 ? bytes.readUInt16BE(2) : short;
  if (length > MESSAGE_BYTES_MAX) return { code: 1009, reason: "too long" };
  const isMinimal = long === 8 ? length > 65_535 : long === 2 ? length > 125 : true;
  if (!isMinimal) return { code: 1002, reason: "length not minimal" };
  const start = 2 + long + 4;
  if (bytes.length < start + length) return undefined;
  const mask = bytes.subarray(start - 4, start);
  const payload = Buffer.from(bytes.subarray(start, start + length));
  for (let at = 0; at < length; at++) payload[at] ^= mask[at & 3];
  return { kind, payload, bytes: start + length };
}
