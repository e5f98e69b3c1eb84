/** The functions of a service as it declares them: arguments and results that are JSON. */
export type Functions = { [name: string]: (...args: any[]) => unknown };

/** The events of a service, with what each brings. */
export type Events = { [name: string]: unknown };

/** Functions to call and events to hear. */
export type Service<F extends object = Functions, E extends object = Events> = {
  readonly [Name in keyof F]: F[Name] extends (...args: infer Arguments) => infer Result
    ? (...args: Arguments) => Promise<Awaited<Result>>
    : never;
} & {
  /** Calls `handler` for each event of that name; gives a function that ends that. */
  on<Name extends keyof E & string>(event: Name, handler: (data: E[Name]) => void): () => void;
  /** `connected` comes at first and after each interruption: what happened meanwhile was not reported. */
  on(event: "connected" | "disconnected", handler: () => void): () => void;
  /** Ends the connection for events. */
  close(): void;
};

export interface ServiceOptions {
  /** Functions that change nothing: they are called again after `network`, `timeout`, `http_502`, `503` and `504`. */
  safe?: readonly string[];
  /** The origin of the service, such as `https://game.example.org`; by default the page's own. */
  origin?: string;
  fetch?: typeof globalThis.fetch;
  /** For Node before 22, such as that of the package `ws`. */
  WebSocket?: new (url: string) => unknown;
  /** A connection that is silent for so long is given up; 60,000 by default. */
  silenceMs?: number;
}

/**
 * A service by its name: `POST /api/NAME/FUNCTION` with the arguments as a JSON array, and `/api/NAME/events` as a
 * WebSocket.
 */
export function service<F extends object = Functions, E extends object = Events>(
  name: string,
  options?: ServiceOptions,
): Service<F, E>;

/** A call that failed: by the service with a code of its own, or with `network`, `timeout` or `http_STATUS`. */
export class ServiceError extends Error {
  constructor(code: string, message: string, status?: number);
  readonly name: "ServiceError";
  readonly code: string;
  /** The status of the answer; 0 without one. */
  readonly status: number;
}

/** The content of `/.well-known/devanture/release.json`. */
export interface Release {
  app: string;
  environment: string | null;
  /** The id of the version, 64 hex characters. */
  version: string;
  commit?: string | null;
  branch?: string | null;
  message?: string | null;
  [member: string]: unknown;
}

export interface NewVersionOptions {
  /** The page's own version, if it knows it; by default the first that is read. */
  version?: string;
  /** Time between two reads while the page is visible; 60,000 by default, 1,000 to 2,147,483,647. */
  everyMs?: number;
  /** The origin of `release.json`; by default the page's own. */
  origin?: string;
  /** A service whose events connect again after a switch, which is a moment to look. */
  service?: { on(event: "connected", handler: () => void): () => void };
  fetch?: typeof globalThis.fetch;
}

/**
 * Calls `callback` when another version than the page's is live, once for each, and with null when the page's own is
 * live again. Gives a function that ends that.
 */
export function onNewVersion(callback: (live: Release | null) => void, options?: NewVersionOptions): () => void;
