// Calls of the HTTP API. The session is a cookie that no script reads; nothing is kept in storage.
import type { Problem } from "./api.ts";
import { EventReader } from "./events.ts";
import { t } from "./texts.ts";

/** A call that was refused or failed, as a problem of the edge or of the way to it. */
export class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

export interface Options {
  body?: unknown;
  query?: Record<string, string | number | boolean | null | undefined>;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** Where a person confirms who it is. */
export const CONFIRM = "/v1/session/confirm";

/** How the console asks a person to confirm who it is; true once that was done. Set by the dialog. */
let confirm: () => Promise<boolean> = async () => false;

export function confirmBy(ask: () => Promise<boolean>): void {
  confirm = ask;
}

/** Left of a confirmation, it is enough for what takes a person a while, such as making a passkey. */
const CONFIRMED_MS_MIN = 60_000;

/**
 * Has a person confirm who it is before what cannot be taken back where the edge refuses it afterwards; `until` is how long
 * the session is confirmed already.
 */
export async function confirmFirst(until: number | null): Promise<void> {
  if ((until ?? 0) - Date.now() > CONFIRMED_MS_MIN || (await confirm())) return;
  const detail = t.confirm.not;
  throw new Refused({ title: detail, status: 0, code: "not_confirmed", detail });
}

/** What happens when the session is over. Set by the application. */
let over: () => void = () => {};

export function whenOver(run: () => void): void {
  over = run;
}

/** Encodes the parts of a path: `path\`/v1/apps/${app}\``. */
export function path(strings: TemplateStringsArray, ...values: string[]): string {
  return strings.reduce((built, text, index) => built + text + encodeURIComponent(values[index] ?? ""), "").toString();
}

/** The address of an environment, or of something in it: `placePath(app, env, "settings")`. */
export function placePath(app: string, env: string, ...rest: string[]): string {
  return ["/v1/apps", app, "environments", env, ...rest].map((part, index) => (index === 0 ? part : encodeURIComponent(part))).join("/");
}

function address(where: string, query: Options["query"]): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") parameters.set(name, String(value));
  }
  const text = parameters.toString();
  return text ? `${where}?${text}` : where;
}

async function problemOf(response: Response): Promise<Problem> {
  try {
    const problem: unknown = await response.json();
    if (problem && typeof problem === "object" && "code" in problem) return problem as Problem;
  } catch {
    // A proxy in between has answered.
  }
  const detail = t.problem.unreadable(response.status);
  return { title: detail, status: response.status, code: "unreadable", detail };
}

function unreachable(): Refused {
  const detail = t.problem.unreachable;
  return new Refused({ title: detail, status: 0, code: "unreachable", detail, hint: t.problem.unreachableHint });
}

const JSON_TYPE = "application/json";
/** The longest time until the answer to a look is there. */
const ANSWER_MS_MAX = 60_000;

async function send(method: Method, where: string, accept: string, options: Options): Promise<Response> {
  const headers: Record<string, string> = { accept, ...options.headers };
  if (options.body !== undefined) headers["content-type"] = JSON_TYPE;
  const request: RequestInit = { method, headers, credentials: "same-origin", redirect: "error", cache: "no-store" };
  if (options.body !== undefined) request.body = JSON.stringify(options.body);
  const signals = options.signal ? [options.signal] : [];
  // What only looks is given up after a while, so that it can be looked at again; a change may take as long as it does.
  if (method === "GET" && accept === JSON_TYPE) signals.push(AbortSignal.timeout(ANSWER_MS_MAX));
  if (signals.length > 0) request.signal = AbortSignal.any(signals);
  for (let attempt = 0; ; attempt += 1) {
    let response: Response;
    try {
      response = await fetch(address(where, options.query), request);
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw unreachable();
    }
    if (response.ok) return response;
    const problem = await problemOf(response);
    const isFirst = attempt === 0 && !options.signal?.aborted;
    if (problem.code === "confirmation_required" && isFirst && (await confirm())) continue;
    // A wrong password or token of a confirmation is no end of the session.
    if (response.status === 401 && where !== CONFIRM) over();
    throw new Refused(problem);
  }
}

/** Calls an operation; the answer is its JSON, or `undefined` if it has none. */
export async function call<Answer>(method: Method, where: string, options: Options = {}): Promise<Answer> {
  const response = await send(method, where, JSON_TYPE, options);
  if (response.status === 204) return undefined as Answer;
  try {
    return (await response.json()) as Answer;
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw unreachable();
  }
}

/** Calls an operation that streams its steps; gives the last event's data, and the steps as they come. */
export async function follow<Report>(
  where: string,
  options: Options,
  step: (data: unknown) => void,
): Promise<Report> {
  const response = await send("POST", where, "text/event-stream", options);
  if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
    return (await response.json()) as Report;
  }
  for await (const { event, data } of eventsOf(response)) {
    const value: unknown = JSON.parse(data);
    if (event === "step") step(value);
    else if (event === "problem") throw new Refused(value as Problem);
    else if (event === "done" || event === "switched") return value as Report;
  }
  throw unreachable();
}

/** Why a stream of events was not opened; `null` if it could be by now. The browser tells pages no more than that it failed. */
export async function problemOfStream(where: string): Promise<Problem | null> {
  const controller = new AbortController();
  try {
    await send("GET", where, "text/event-stream", { signal: controller.signal });
    return null;
  } catch (error) {
    return problemFrom(error);
  } finally {
    controller.abort();
  }
}

async function* eventsOf(response: Response) {
  const reader = new EventReader();
  const stream = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (!stream) return;
  try {
    for (;;) {
      let piece: ReadableStreamReadResult<string>;
      try {
        piece = await stream.read();
      } catch {
        throw unreachable();
      }
      if (piece.done) return;
      yield* reader.take(piece.value);
    }
  } finally {
    stream.cancel().catch(() => {});
  }
}

export function problemFrom(error: unknown): Problem {
  if (error instanceof Refused) return error.problem;
  const detail = error instanceof Error ? error.message : String(error);
  return { title: detail, status: 0, code: "console", detail };
}
