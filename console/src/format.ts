// Numbers, moments and ids as a person reads them.
import { t } from "./texts.ts";

const NUMBER = new Intl.NumberFormat("en");
const EXACT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY_MS = 24 * HOUR;
const CLOCKS_MS = 15_000;
/** A space that neither breaks nor is as wide as one between words. */
const THIN = "\u202f";

export function count(value: number): string {
  return NUMBER.format(value);
}

/** A number that has little room: `1.2 k`, `34 M`. */
export function brief(value: number): string {
  const units = ["", "k", "M", "G", "T"];
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 9.95 ? Math.round(value).toString() : value.toFixed(1);
  return unit === 0 ? digits : `${digits}${THIN}${units[unit]}`;
}

export function bytes(value: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 9.95 ? Math.round(value).toString() : value.toFixed(1);
  return `${digits}${THIN}${units[unit]}`;
}

export function duration(milliseconds: number): string {
  if (milliseconds < 10) return `${Number(milliseconds.toFixed(milliseconds < 1 ? 2 : 1))}${THIN}ms`;
  if (milliseconds < 1000) return `${Math.round(milliseconds)}${THIN}ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)}${THIN}s`;
  if (seconds < 60) return `${Math.floor(seconds)}${THIN}s`;
  if (milliseconds < HOUR) return `${Math.floor(seconds / 60)}${THIN}min ${Math.floor(seconds % 60)}${THIN}s`;
  if (milliseconds < DAY_MS) {
    return `${Math.floor(milliseconds / HOUR)}${THIN}h ${Math.floor((milliseconds % HOUR) / MINUTE)}${THIN}min`;
  }
  return `${Math.floor(milliseconds / DAY_MS)}${THIN}d`;
}

/** How long ago, or until when, in a few characters. */
export function ago(moment: number, now: number): string {
  // The clock of the edge may be a little ahead.
  const age = Math.abs(now - moment) < CLOCKS_MS ? 0 : now - moment;
  if (Math.abs(age) < MINUTE) return age >= 0 ? t.ago.now : t.ago.soon;
  if (Math.abs(age) > 30 * DAY_MS) return DAY.format(moment);
  const size = Math.abs(age);
  const words =
    size < HOUR
      ? `${Math.floor(size / MINUTE)}${THIN}min`
      : size < DAY_MS
        ? `${Math.floor(size / HOUR)}${THIN}h`
        : `${Math.floor(size / DAY_MS)}${THIN}d`;
  return age >= 0 ? t.ago.past(words) : t.ago.future(words);
}

export function exact(moment: number): string {
  return EXACT.format(moment);
}

export function clock(moment: number): string {
  return CLOCK.format(moment);
}

/** As much of an id as hostnames and commands have. */
export function shortId(id: string): string {
  return id.slice(0, 12);
}

/** What a message says in short: its first line, as that of a commit. */
export function firstLine(message: string | null | undefined): string {
  return message?.split("\n", 1)[0] ?? "";
}

/** The change of a size, with its sign. */
export function change(before: number, now: number): string {
  const difference = now - before;
  return `${difference < 0 ? "−" : "+"}${bytes(Math.abs(difference))}`;
}

/** A share in percent, with one digit where it is small. */
export function percent(part: number, whole: number): string {
  if (whole === 0) return `0${THIN}%`;
  const share = (100 * part) / whole;
  if (share > 0 && share < 0.1) return `<0.1${THIN}%`;
  return `${share >= 10 || share === 0 ? Math.round(share) : share.toFixed(1)}${THIN}%`;
}
