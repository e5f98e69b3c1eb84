// How a certificate is: it is renewed weeks before its end, so that one that is close to it was not.
import type { Tone } from "./health.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
/** Certificates of ACME are renewed earlier than this before their end, and one of a file should have been. */
const SOON_MS = 14 * DAY_MS;

export function toneOf(expires: number, now: number): Tone {
  return expires <= now ? "bad" : expires - now < SOON_MS ? "warn" : "good";
}
