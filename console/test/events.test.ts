// Streams of events are read however they are cut into pieces.
import { describe, expect, it } from "vitest";
import type { RecentDeploy } from "../src/api.ts";
import { after, begun, failedLately, linesOf, logBeside, stepsBeside } from "../src/deploy_following.ts";
import { EventReader } from "../src/events.ts";

describe("a stream of events", () => {
  const text = ': hello\n\nevent: step\ndata: {"name":"verify"}\nid: 1\n\ndata: a\r\ndata: b\r\n\r\nevent: empty\n\nevent: done\ndata:{}\n\n';

  it("gives each event once, cut anywhere", () => {
    const expected = [
      { event: "step", data: '{"name":"verify"}', id: "1" },
      { event: "message", data: "a\nb", id: "1" },
      { event: "done", data: "{}", id: "1" },
    ];
    for (let size = 1; size <= text.length; size += 1) {
      const reader = new EventReader();
      const found = [];
      for (let start = 0; start < text.length; start += size) found.push(...reader.take(text.slice(start, start + size)));
      expect(found).toEqual(expected);
    }
  });

  it("does not keep an event without an end", () => {
    const reader = new EventReader();
    expect(() => {
      for (let index = 0; index < 10; index += 1) reader.take(`data: ${"x".repeat(1024 * 1024)}\n`);
    }).toThrow();
  });
});

describe("a deploy that is followed", () => {
  const deploy: RecentDeploy = { deploy: "1", state: "running", started_ms: 0, who: "ci", steps: [{ name: "verify", state: "done" }] };

  it("has each step once, as it was last", () => {
    let followed = begun(deploy);
    followed = after(followed, "step", { name: "smoke", state: "started", detail: "" });
    followed = after(followed, "step", { name: "smoke", state: "failed", detail: "500", ms: 3 });
    expect(followed.steps.map((step) => `${step.name} ${step.state}`)).toEqual(["verify done", "smoke failed"]);
    expect(followed.ended).toBe(false);
    followed = after(followed, "problem", { code: "smoke_failed", detail: "It answered 500." });
    expect([followed.state, followed.problem?.code, followed.ended]).toEqual(["failed", "smoke_failed", true]);
  });

  it("has a line for each node that prepares it", () => {
    let followed = begun(deploy);
    const lines = () => linesOf(followed.steps[1] ?? { name: "", state: "done" });
    followed = after(followed, "step", { name: "prepare", state: "started", detail: "" });
    expect(lines()).toEqual([]);
    for (const detail of ["edge-2 fetched 3 files", "edge-2 ready"]) followed = after(followed, "step", { name: "prepare", state: "started", detail });
    expect(lines()).toEqual(["edge-2 fetched 3 files", "edge-2 ready"]);
    followed = after(followed, "step", { name: "prepare", state: "done", detail: "edge-1 ready · edge-2 ready", ms: 4 });
    expect(lines()).toEqual(["edge-1 ready", "edge-2 ready"]);
  });

  it("has the last of what a watch reports", () => {
    let followed = begun(deploy);
    for (const detail of ["1 of 10", "2 of 10"]) followed = after(followed, "step", { name: "watch", state: "started", detail });
    expect(followed.steps[1] && linesOf(followed.steps[1])).toEqual(["2 of 10"]);
  });

  it("is live or stored at its end", () => {
    expect(after(begun(deploy), "done", { switched: true, steps: [] }).state).toBe("live");
    expect(after(begun(deploy), "done", { switched: false }).state).toBe("stored");
    expect(after(begun(deploy), "of_a_later_edge", {}).state).toBe("running");
  });

  it("that failed says why", () => {
    const failed = begun({ ...deploy, state: "failed", error: { code: "watch_failed", detail: "Errors rose." } });
    expect([failed.ended, failed.problem?.detail]).toEqual([true, "Errors rose."]);
  });
});

describe("deploys that failed lately", () => {
  const deploy = (id: string, state: RecentDeploy["state"], ended_ms: number, kind = "push"): RecentDeploy => ({
    deploy: id, kind, state, started_ms: ended_ms - 1, ended_ms, who: "ci", steps: [],
  });
  const now = 100 * 3_600_000;
  const names = (...deploys: RecentDeploy[]) => failedLately(deploys, now).map((one) => one.deploy);

  it("are shown for a day, until a later push went live", () => {
    const failed = deploy("a", "failed", now - 3000);
    expect(names(failed)).toEqual(["a"]);
    expect(names(deploy("b", "live", now - 2000), failed)).toEqual([]);
    expect(names(deploy("b", "live", now - 2000, "rollback"), failed)).toEqual(["a"]);
    expect(names(failed, deploy("b", "live", now - 4000))).toEqual(["a"]);
    expect(names(deploy("b", "live", now - 2000, "switch"), deploy("a", "failed", now - 3000, "rollback"))).toEqual([]);
    expect(names(deploy("old", "failed", now - 25 * 3_600_000))).toEqual([]);
    expect(names(...["a", "b", "c", "d"].map((id) => deploy(id, "failed", now - 3000)))).toEqual(["a", "b", "c"]);
  });

  it("say why once", () => {
    const detail = "GET /cart was answered 500.";
    expect(stepsBeside([{ name: "smoke", state: "failed", detail: "GET /cart was answered 500" }, { name: "store", state: "done", detail: "3 files" }], detail)).toEqual([
      { name: "smoke", state: "failed" },
      { name: "store", state: "done", detail: "3 files" },
    ]);
    expect(logBeside(["stored", `error: ${detail}  [smoke_failed]`], detail)).toEqual(["stored"]);
    expect(logBeside(["stored"], undefined)).toEqual(["stored"]);
  });
});
