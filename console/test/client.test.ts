// Calls of the API: problems, the end of a session, and confirmations that are asked for once.
import { afterEach, describe, expect, it, vi } from "vitest";
import { CONFIRM, Refused, call, confirmBy, confirmFirst, follow, path, placePath, whenOver } from "../src/client.ts";

const json = (status: number, body: unknown, type = "application/json") =>
  new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers: { "content-type": type } });
const problem = (status: number, code: string) => json(status, { title: code, status, code, detail: code }, "application/problem+json");

function answers(...given: (Response | Error)[]) {
  const fetch = vi.fn(async (_where: string, _request?: RequestInit) => {
    const next = given.shift();
    if (!next || next instanceof Error) throw next ?? new Error("no more answers");
    return next;
  });
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

afterEach(() => {
  vi.unstubAllGlobals();
  confirmBy(async () => false);
  whenOver(() => {});
});

describe("what cannot be taken back", () => {
  it("is confirmed before, unless it just was", async () => {
    const asked = vi.fn(async () => true);
    confirmBy(asked);
    await confirmFirst(Date.now() + 200_000);
    expect(asked).not.toHaveBeenCalled();
    await confirmFirst(Date.now() + 1000);
    await confirmFirst(null);
    expect(asked).toHaveBeenCalledTimes(2);
    confirmBy(async () => false);
    await expect(confirmFirst(null)).rejects.toMatchObject({ problem: { code: "not_confirmed" } });
  });
});

describe("a call", () => {
  it("goes to this origin alone, with what is asked encoded", async () => {
    const fetch = answers(json(200, { fine: true }));
    const where = path`/v1/apps/${"a/b?c"}`;
    expect(placePath("a/b", "c?d", "hostnames", "*.e.f")).toBe("/v1/apps/a%2Fb/environments/c%3Fd/hostnames/*.e.f");
    expect(await call("GET", where, { query: { limit: 3, after: null, search: "x y" } })).toEqual({ fine: true });
    expect(fetch.mock.calls[0]?.[0]).toBe("/v1/apps/a%2Fb%3Fc?limit=3&search=x+y");
    expect(fetch.mock.calls[0]?.[1]).toMatchObject({ credentials: "same-origin", redirect: "error" });
  });

  it("that looks is given up after a while, and one that changes something is not", async () => {
    const fetch = answers(json(200, {}), json(200, {}));
    await call("GET", "/v1/x");
    await call("POST", "/v1/x");
    expect(fetch.mock.calls[0]?.[1]?.signal).toBeInstanceOf(AbortSignal);
    expect(fetch.mock.calls[1]?.[1]?.signal).toBeUndefined();
    const given = new AbortController();
    answers(new TypeError("failed"));
    given.abort();
    await expect(call("GET", "/v1/x", { signal: given.signal })).rejects.toBeInstanceOf(TypeError);
  });

  it("that is refused has the problem of the edge", async () => {
    answers(problem(409, "locked"));
    await expect(call("POST", "/v1/x")).rejects.toMatchObject({ problem: { code: "locked" } });
  });

  it("that reaches nobody, or somebody else, is a problem too", async () => {
    answers(new TypeError("failed"), json(502, "<h1>Bad gateway</h1>", "text/html"));
    await expect(call("GET", "/v1/x")).rejects.toMatchObject({ problem: { code: "unreachable" } });
    await expect(call("GET", "/v1/x")).rejects.toMatchObject({ problem: { code: "unreadable", status: 502 } });
  });

  it("is made again once a person has confirmed who it is", async () => {
    const fetch = answers(problem(403, "confirmation_required"), json(200, { done: true }));
    const asked = vi.fn(async () => true);
    confirmBy(asked);
    expect(await call("POST", "/v1/x", { body: { a: 1 } })).toEqual({ done: true });
    expect(asked).toHaveBeenCalledTimes(1);
    expect(fetch.mock.calls[1]?.[1]?.body).toBe('{"a":1}');
  });

  it("is not made again without that, nor a third time", async () => {
    const fetch = answers(problem(403, "confirmation_required"), problem(403, "confirmation_required"), problem(403, "confirmation_required"));
    await expect(call("POST", "/v1/x")).rejects.toBeInstanceOf(Refused);
    expect(fetch).toHaveBeenCalledTimes(1);
    confirmBy(async () => true);
    await expect(call("POST", "/v1/x")).rejects.toBeInstanceOf(Refused);
    expect(fetch).toHaveBeenCalledTimes(3);
  });

  it("ends the session at 401, but not by a wrong password of a confirmation", async () => {
    const over = vi.fn();
    whenOver(over);
    answers(problem(401, "bad_login"), problem(401, "bad_token"), problem(401, "unauthenticated"));
    await expect(call("POST", CONFIRM)).rejects.toBeInstanceOf(Refused);
    await expect(call("POST", CONFIRM)).rejects.toBeInstanceOf(Refused);
    expect(over).not.toHaveBeenCalled();
    await expect(call("GET", "/v1/session")).rejects.toBeInstanceOf(Refused);
    expect(over).toHaveBeenCalledTimes(1);
  });
});

describe("a change that streams its steps", () => {
  const events = (text: string) => json(200, text, "text/event-stream");

  it("gives each step, and its report at the end", async () => {
    answers(events('event: step\ndata: {"name":"a"}\n\nevent: switched\ndata: {"switched":true}\n\n'));
    const steps: unknown[] = [];
    expect(await follow("/v1/x", {}, (step) => steps.push(step))).toEqual({ switched: true });
    expect(steps).toEqual([{ name: "a" }]);
  });

  it("fails with its problem, or where it breaks off", async () => {
    answers(events('event: problem\ndata: {"code":"smoke_failed","detail":"x"}\n\n'), events("event: step\ndata: {}\n\n"));
    await expect(follow("/v1/x", {}, () => {})).rejects.toMatchObject({ problem: { code: "smoke_failed" } });
    await expect(follow("/v1/x", {}, () => {})).rejects.toMatchObject({ problem: { code: "unreachable" } });
  });
});
