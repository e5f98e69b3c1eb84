// Traffic becomes lines with all of its steps, and sums that add up.
import { describe, expect, it } from "vitest";
import type { Traffic, TrafficFigures } from "../src/api.ts";
import { OTHERS, series, spark, totals, versionsOf } from "../src/series.ts";

const figures = (version: string, requests: number, p99: number): TrafficFigures => ({
  version,
  requests,
  errors: requests / 10,
  client_errors: requests / 5,
  bytes: requests * 100,
  bytes_saved: requests,
  latency_ms: { p50: 1, p99 },
});

const traffic: Traffic = {
  from_ms: 0,
  to_ms: 300_000,
  step_s: 60,
  points: [
    { at_ms: 60_000, versions: [figures("a", 10, 5)] },
    { at_ms: 180_000, versions: [figures("a", 10, 7), figures("b", 100, 3)] },
  ],
  switches: [],
};

describe("traffic", () => {
  it("has a value for each step, also for those without requests", () => {
    const { times, lines } = series(traffic, "requests", false);
    expect(times).toEqual([0, 60, 120, 180, 240]);
    expect(lines).toEqual([{ version: null, values: [0, 10, 0, 110, 0] }]);
  });

  it("is split by version, those with the most requests first", () => {
    expect(versionsOf(traffic)).toEqual(["b", "a"]);
    const { lines } = series(traffic, "requests", true);
    expect(lines.map((line) => line.values)).toEqual([
      [0, 0, 0, 100, 0],
      [0, 10, 0, 10, 0],
    ]);
  });

  it("has one line for all versions that have none of their own", () => {
    const versions = ["a", "b", "c", "d", "e", "f", "g", "h"].map((name, index) => figures(name, 100 - index, index));
    const many = { ...traffic, points: [{ at_ms: 60_000, versions }] };
    const { lines } = series(many, "requests", true);
    expect(lines.map((line) => [line.version, line.values[1]])).toEqual([["a", 100], ["b", 99], ["c", 98], ["d", 97], ["e", 96], [OTHERS, 95 + 94 + 93]]);
    expect(lines.reduce((sum, line) => sum + (line.values[1] ?? 0), 0)).toBe(totals(many).requests);
    expect(series(many, "latency", true).lines.at(-1)).toEqual({ version: OTHERS, quantile: "p99", values: [null, 7, null, null, null] });
  });

  it("shows the slowest version as latency, and nothing where none was measured", () => {
    const { lines } = series(traffic, "latency", false);
    expect(lines.map((line) => line.quantile)).toEqual(["p50", "p99"]);
    expect(lines[1]?.values).toEqual([null, 5, null, 7, null]);
  });

  it("adds up", () => {
    expect(totals(traffic)).toEqual({ requests: 120, errors: 12, client_errors: 24, bytes: 12_000, bytes_saved: 120, p50: 1, p99: 7 });
    expect(totals(traffic, "a").requests).toBe(20);
    expect(spark(traffic, 300_000, 2)).toEqual([10, 110]);
    expect(spark({ ...traffic, points: [] }, 300_000, 30)).toEqual([0, 0, 0, 0, 0]);
    // What was not counted yet is nothing: the line is as long as any other.
    expect(spark({ ...traffic, from_ms: 180_000 }, 300_000, 30)).toEqual([0, 10, 0, 110, 0]);
  });
});
