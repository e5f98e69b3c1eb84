// Requests as they are answered, with filters, and what instances write.
import { useEffect, useRef, useState } from "preact/hooks";
import type { LogLine, Problem } from "../api.ts";
import { at, devanture } from "../command.ts";
import { placePath, problemOfStream } from "../client.ts";
import { bytes, clock, duration } from "../format.ts";
import { toneOfStatus } from "../health.ts";
import { route, setQuery } from "../router.ts";
import { session } from "../state.ts";
import { t } from "../texts.ts";
import { Button, Empty, Fact, Id, Mark, Outside, Pending, ProblemBox, SameByCommand } from "../ui/basics.tsx";
import { TextField } from "../ui/dialog.tsx";
import { AppFrame, chosenEnvironment, useApp, useTitle } from "../ui/frame.tsx";

/** Lines that are kept on the page. */
const LINES_MAX = 500;
/** Lines of before that are shown first. */
const LINES_BEFORE = 50;
/** Lines that come within this time are shown together. */
const GATHER_MS = 200;

interface Filter {
  status: string;
  path: string;
  method: string;
  version: string;
}

const FIELDS = ["status", "path", "method", "version"] as const;

interface Shown {
  number: number;
  line?: LogLine;
  note?: string;
}

let numbers = 0;

function useTail(app: string, env: string | null, filter: Filter, going: boolean) {
  const [lines, setLines] = useState<Shown[]>([]);
  const [connected, setConnected] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [attempt, setAttempt] = useState(0);
  const key = [app, env, ...FIELDS.map((name) => filter[name])].join("\n");
  useEffect(() => setLines([]), [key]);
  useEffect(() => {
    if (!env || !going || !session.value) return;
    const query = new URLSearchParams({ tail: "true", lines: String(LINES_BEFORE) });
    for (const name of FIELDS) if (filter[name]) query.set(name, filter[name]);
    const where = `${placePath(app, env, "logs")}?${query}`;
    const events = new EventSource(where);
    setProblem(null);
    let waiting: Shown[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    const show = () => {
      timer = undefined;
      const come = waiting.reverse();
      waiting = [];
      setLines((old) => [...come, ...old].slice(0, LINES_MAX));
    };
    const add = (line: Omit<Shown, "number">) => {
      numbers += 1;
      waiting.push({ number: numbers, ...line });
      timer ??= setTimeout(show, GATHER_MS);
    };
    const on = (name: string, take: (data: never) => void) =>
      events.addEventListener(name, (event) => take(JSON.parse(String((event as MessageEvent).data)) as never));
    on("line", (line: LogLine) => add({ line }));
    on("lost", (lost: { lost: number }) => add({ note: t.requests.lost(lost.lost) }));
    on("unavailable", (node: { node: string; detail: string }) => add({ note: `${node.node}: ${node.detail}` }));
    events.onopen = () => setConnected(true);
    let gone = false;
    events.onerror = () => {
      setConnected(false);
      // The browser comes again by itself where a stream broke off, and not where it was refused.
      if (events.readyState !== EventSource.CLOSED) return;
      void problemOfStream(where).then((found) => {
        if (gone) return;
        if (found) setProblem(found);
        else setAttempt((old) => old + 1);
      });
    };
    return () => {
      gone = true;
      clearTimeout(timer);
      events.close();
      setConnected(false);
    };
  }, [key, going, attempt, session.value === null]);
  return { lines, connected, problem, again: () => setAttempt((old) => old + 1) };
}

function Line({ line }: { line: LogLine }) {
  const [open, setOpen] = useState(false);
  return (
    <details class="request" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <span class="figure request-time">{clock(line.at_ms)}</span>
        <span class="request-status">
          <Mark tone={toneOfStatus(line.status)}>{line.status}</Mark>
        </span>
        <span class="request-method">
          <Outside text={line.method} />
        </span>
        <span class="request-target">
          <Outside text={line.target} />
        </span>
        <span class="figure request-took">{duration(line.us / 1000)}</span>
        <span class="figure request-bytes">{bytes(line.bytes)}</span>
      </summary>
      {open && (
        <dl class="facts">
          <Fact name={t.requests.host}>
            <Outside text={line.host} />
          </Fact>
          <Fact name={t.requests.protocol}>
            <Outside text={line.protocol} />
          </Fact>
          {line.version && (
            <Fact name={t.apps.version}>
              <Id id={line.version} />
            </Fact>
          )}
          {(
            [
              [t.requests.client, line.client],
              [t.requests.agent, line.user_agent],
              [t.requests.referer, line.referer],
              [t.requests.upstream, line.upstream],
              [t.requests.error, line.error],
              [t.requests.node, line.node],
              [t.requests.id, line.request_id],
            ] as const
          ).map(
            ([name, value]) =>
              value && (
                <Fact key={name} name={name}>
                  <Outside text={String(value)} />
                </Fact>
              ),
          )}
        </dl>
      )}
    </details>
  );
}

export function RequestsPage({ app }: { app: string }) {
  useTitle(t.tabs.requests, app);
  const info = useApp(app);
  const env = chosenEnvironment(info.data);
  const query = route.value.query;
  const filter = Object.fromEntries(FIELDS.map((name) => [name, query.get(name) ?? ""])) as unknown as Filter;
  const [typed, setTyped] = useState(filter);
  const [going, setGoing] = useState(true);
  const { lines, connected, problem, again } = useTail(app, env, filter, going);
  const list = useRef<HTMLDivElement>(null);
  const apply = (event: Event) => {
    event.preventDefault();
    setQuery(Object.fromEntries(FIELDS.map((name) => [name, typed[name].trim() || null])));
  };
  return (
    <AppFrame app={app} info={info.data} env={env}>
      <Pending of={info} />
      <form class="filters" onSubmit={apply}>
        {FIELDS.map((name) => (
          <TextField
            key={name}
            label={t.requests.fields[name]}
            value={typed[name]}
            placeholder={t.requests.examples[name]}
            max={200}
            set={(value) => setTyped((old) => ({ ...old, [name]: value }))}
          />
        ))}
        <Button type="submit">{t.requests.apply}</Button>
        <Button look="quiet" onClick={() => setGoing(!going)} aria-pressed={!going}>
          {going ? t.requests.hold : t.requests.goOn}
        </Button>
      </form>
      {problem && <ProblemBox problem={problem} again={again} />}
      <p class="faint" role="status" hidden={problem !== null}>
        {going ? (connected ? <Mark tone="busy">{t.requests.connected}</Mark> : t.requests.connecting) : t.requests.held}
      </p>
      {lines.length === 0 && connected && <Empty title={t.requests.none} />}
      <div class="requests" ref={list}>
        {lines.map((one) =>
          one.line ? (
            <Line key={one.number} line={one.line} />
          ) : (
            <p key={one.number} class="request note">
              <Mark tone="warn">
                <Outside text={one.note ?? ""} />
              </Mark>
            </p>
          ),
        )}
      </div>
      <SameByCommand
        text={devanture(
          "logs",
          "--tail",
          ...at(app, env ?? undefined),
          ...FIELDS.map((name): [string, string] => [`--${name}`, filter[name]]),
        )}
      />
    </AppFrame>
  );
}
