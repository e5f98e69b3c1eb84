/// <reference types="node" />
import type { Server } from "node:http";

/**
 * The shape of an argument: a text of at most 1,000 characters, a number, a whole number, true or false; a list of at
 * most 100; an object with exactly these members, where the name of one that may be missing ends in `?`.
 */
export type Shape = "string" | "number" | "integer" | "boolean" | readonly [Shape] | { readonly [member: string]: Shape };

/** What the class of a service declares: its functions with the shapes of their arguments, and its events. */
export interface Declaration {
  functions: { readonly [name: string]: readonly Shape[] };
  events?: readonly string[];
}

/** An error that the caller is meant to see, with a code and a status of 400 to 599, 409 by default. */
export class Refusal extends Error {
  constructor(code: string, message: string, status?: number);
  readonly code: string;
  readonly status: number;
}

export interface Served {
  /** Listens where the caller says: `server.listen(process.env.PORT, "127.0.0.1")`. */
  readonly server: Server;
  /** Sends an event to every browser that this process holds. */
  emit(service: string, event: string, data?: unknown): void;
  /** Finishes what is under way, for 30 seconds at most, and ends every connection for events with 1001. */
  close(): Promise<void>;
}

/** Offers services, by their names. The class of each has a static `functions`, and `events` if it has any. */
export function serve(
  services: { readonly [name: string]: object },
  options?: { log?: (line: string) => void; aliveEveryMs?: number },
): Served;
