// Traffic as lines of a chart: by version or as a whole, with gaps as zeros, and what a point says in words.
import type { Traffic, TrafficFigures } from "./api.ts";

export type Measure = "requests" | "errors" | "client_errors" | "latency" | "bytes" | "bytes_saved";

export interface Line {
  /** A version's id, `OTHERS`, or `null` for all of them together. */
  version: string | null;
  /** Of latency: which share of the requests was as fast. */
  quantile?: "p50" | "p99";
  values: (number | null)[];
}

export interface Series {
  /** Seconds since 1970 UTC, as uPlot takes them. */
  times: number[];
  lines: Line[];
}

/** Lines of a chart, as many as there are colours; the versions that were used least share the last one. */
export const LINES_MAX = 6;
/** What stands in place of a version for those that share a line. */
export const OTHERS = "others";

/** The versions of a span, those with the most requests first. */
export function versionsOf(traffic: Traffic): string[] {
  const sums = new Map<string, number>();
  for (const point of traffic.points) {
    for (const figures of point.versions) {
      sums.set(figures.version, (sums.get(figures.version) ?? 0) + figures.requests);
    }
  }
  return [...sums].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([version]) => version);
}

function figure(figures: TrafficFigures[], measure: Exclude<Measure, "latency">): number {
  return figures.reduce((sum, one) => sum + one[measure], 0);
}

/** Quantiles of several versions cannot be added: the slowest of them is shown. */
function slowest(figures: TrafficFigures[], quantile: "p50" | "p99"): number | null {
  const values = figures.map((one) => one.latency_ms[quantile]);
  return values.length > 0 ? Math.max(...values) : null;
}

export function series(traffic: Traffic, measure: Measure, byVersion: boolean): Series {
  const times = slots(traffic);
  const at = new Map<number, TrafficFigures[]>();
  for (const point of traffic.points) {
    const time = Math.round(point.at_ms / 1000);
    at.set(time, [...(at.get(time) ?? []), ...point.versions]);
  }
  const all = byVersion ? versionsOf(traffic) : [];
  const own = all.length > LINES_MAX ? all.slice(0, LINES_MAX - 1) : all;
  const versions = !byVersion ? [null] : all.length > own.length ? [...own, OTHERS] : own;
  const lines: Line[] = [];
  for (const version of versions) {
    const isOf = (one: TrafficFigures) => version === null || (version === OTHERS ? !own.includes(one.version) : one.version === version);
    const of = (time: number) => (at.get(time) ?? []).filter(isOf);
    if (measure === "latency") {
      for (const quantile of ["p50", "p99"] as const) {
        lines.push({ version, quantile, values: times.map((time) => slowest(of(time), quantile)) });
      }
    } else {
      lines.push({ version, values: times.map((time) => figure(of(time), measure)) });
    }
  }
  return { times, lines };
}

/** The beginnings of all steps of the span, also of those in which nothing was answered. */
function slots(traffic: Traffic): number[] {
  const known = traffic.points.map((point) => Math.round(point.at_ms / 1000)).sort((a, b) => a - b);
  const step = Math.max(1, traffic.step_s);
  const from = Math.floor(traffic.from_ms / 1000);
  const to = Math.floor(traffic.to_ms / 1000);
  const first = known[0];
  // Steps lie as those that are known do.
  const begin = first === undefined ? from : first - Math.max(0, Math.floor((first - from) / step)) * step;
  const times = new Set(known);
  for (let time = begin; time < to && times.size < 20_000; time += step) times.add(time);
  return [...times].sort((a, b) => a - b);
}

export interface Totals {
  requests: number;
  errors: number;
  client_errors: number;
  bytes: number;
  bytes_saved: number;
  p50: number | null;
  p99: number | null;
}

export function totals(traffic: Traffic, version: string | null = null): Totals {
  const all = traffic.points.flatMap((point) => point.versions).filter((one) => !version || one.version === version);
  return {
    requests: figure(all, "requests"),
    errors: figure(all, "errors"),
    client_errors: figure(all, "client_errors"),
    bytes: figure(all, "bytes"),
    bytes_saved: figure(all, "bytes_saved"),
    p50: slowest(all, "p50"),
    p99: slowest(all, "p99"),
  };
}

/** Requests of the last `span` milliseconds, for a small line beside a name: at most `columns` of them. */
export function spark(traffic: Traffic, span: number, columns: number): number[] {
  const whole = { ...traffic, from_ms: Math.min(traffic.from_ms, traffic.to_ms - span) };
  const { lines } = series(whole, "requests", false);
  const values = (lines[0]?.values ?? []).map((value) => value ?? 0);
  const size = Math.max(1, Math.ceil(values.length / columns));
  const sums: number[] = [];
  for (let start = 0; start < values.length; start += size) {
    sums.push(values.slice(start, start + size).reduce((sum, value) => sum + value, 0));
  }
  return sums;
}
