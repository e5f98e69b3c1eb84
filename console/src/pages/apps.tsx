// All apps: thousands of them, of which those in sight are in the document.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { AppEnvironment, AppInfo, AppList } from "../api.ts";
import { call } from "../client.ts";
import { brief, count, percent } from "../format.ts";
import { healthOf } from "../health.ts";
import { route, setQuery, to } from "../router.ts";
import { rights, useListing } from "../state.ts";
import { t } from "../texts.ts";
import { LAST_MS, lastHour } from "../traffic.ts";
import { spark, totals } from "../series.ts";
import { Beside, CommandLine, Empty, Heading, Id, Mark, Outside, ProblemBox, When } from "../ui/basics.tsx";
import { useTitle } from "../ui/frame.tsx";
import { Spark } from "../ui/spark.tsx";
import { rowsInView, type Window } from "../windowing.ts";

/** Apps of a page of the list. */
const PAGE = 200;
const ROW_PX = 44;
/** On a phone a row has two lines. */
const TALL_ROW_PX = 76;
const NARROW = "(max-width: 719px)";
const TYPING_MS = 200;

/** The environment that stands for an app in the list: `prod`, else the one that changed last. */
function mainOf(app: AppInfo): AppEnvironment | undefined {
  const prod = app.environments.find((environment) => environment.name === "prod");
  return prod ?? [...app.environments].sort((a, b) => (b.since_ms ?? 0) - (a.since_ms ?? 0))[0];
}

function Traffic({ app, env }: { app: string; env: string }) {
  const traffic = lastHour(app, env).value;
  if (!traffic) return <span class="faint">—</span>;
  const sums = totals(traffic);
  return (
    <span class="traffic">
      <Spark values={spark(traffic, LAST_MS, 30)} />
      <span class="figure">{brief(sums.requests)}</span>
    </span>
  );
}

function Errors({ app, env }: { app: string; env: string }) {
  const traffic = lastHour(app, env).value;
  if (!traffic) return <span class="faint">—</span>;
  const sums = totals(traffic);
  if (sums.errors === 0) return <span class="faint">0</span>;
  return (
    <Mark tone="bad">
      {brief(sums.errors)} <span class="faint">{percent(sums.errors, sums.requests)}</span>
    </Mark>
  );
}

function Row({ app, index }: { app: AppInfo | undefined; index: number }) {
  if (!app) {
    return (
      <tr aria-rowindex={index + 2} class="row">
        <td colSpan={7} class="faint">
          …
        </td>
      </tr>
    );
  }
  const main = mainOf(app);
  const [tone, word] = healthOf(main);
  const others = app.environments_total - (main ? 1 : 0);
  return (
    <tr aria-rowindex={index + 2} class="row">
      <th scope="row" class="app-name">
        <a href={to("app", { app: app.app })}>
          <Outside text={app.app} />
        </a>
        {main && main.name !== "prod" && <Beside text={main.name} />}
        {others > 0 && <span class="faint others"> {t.apps.others(others)}</span>}
      </th>
      <td class="app-health">
        <Mark tone={tone}>{word}</Mark>
      </td>
      <td class="app-version">
        <Id id={main?.version} />
      </td>
      <td class="app-when">
        <When at={main?.since_ms} />
      </td>
      <td class="app-who">{main?.who ? <Outside text={main.who} /> : <span class="faint">—</span>}</td>
      <td class="app-traffic">{main ? <Traffic app={app.app} env={main.name} /> : null}</td>
      <td class="app-errors">{main ? <Errors app={app.app} env={main.name} /> : null}</td>
    </tr>
  );
}

/** The first app is made by a push: how, is all that an empty list can show. */
function First() {
  return (
    <Empty title={t.apps.none}>
      <p>{rights.value.can("makeApp") ? t.apps.firstOwn : t.apps.firstOther}</p>
      <ol class="first">
        <li>
          <p>{t.apps.firstToken}</p>
          <CommandLine text="devanture-edge token create --config edge.toml --name laptop --scope push" label={t.apps.firstToken} />
        </li>
        <li>
          <p>{t.apps.firstAuthority}</p>
          <CommandLine text="devanture-edge authority --config edge.toml > ca.pem" label={t.apps.firstAuthority} />
        </li>
        <li>
          <p>{t.apps.firstInit}</p>
          <CommandLine text="devanture init" label={t.apps.firstInit} />
        </li>
        <li>
          <p>{t.apps.firstPush}</p>
          <CommandLine text={`DEVANTURE_URL=${location.origin} DEVANTURE_CA=ca.pem DEVANTURE_TOKEN=dvt_… devanture push`} label={t.apps.firstPush} />
        </li>
      </ol>
    </Empty>
  );
}

/** The part of the table that is in sight of the window. */
function useWindow(total: number, row: number) {
  const body = useRef<HTMLTableSectionElement>(null);
  const [shown, setShown] = useState<Window>({ first: 0, end: 0, before: 0, after: 0 });
  useLayoutEffect(() => {
    let frame = 0;
    const look = () => {
      frame = 0;
      const top = body.current ? -body.current.getBoundingClientRect().top : 0;
      const next = rowsInView(total, row, Math.max(0, top), innerHeight);
      setShown((old) => (old.first === next.first && old.end === next.end && old.after === next.after ? old : next));
    };
    const later = () => {
      if (!frame) frame = requestAnimationFrame(look);
    };
    look();
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", later);
    return () => {
      removeEventListener("scroll", later);
      removeEventListener("resize", later);
      cancelAnimationFrame(frame);
    };
  }, [total, row]);
  return { body, shown };
}

function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(() => matchMedia(NARROW).matches);
  useEffect(() => {
    const query = matchMedia(NARROW);
    const read = () => setNarrow(query.matches);
    query.addEventListener("change", read);
    return () => query.removeEventListener("change", read);
  }, []);
  return narrow;
}

function Search({ search }: { search: string }) {
  const [typed, setTyped] = useState(search);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const timer = setTimeout(() => {
      if (typed !== search) setQuery({ search: typed.trim().toLowerCase() || null });
    }, TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const isTyping = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
      if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      field.current?.focus();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
  return (
    <label class="search">
      <span class="sr">{t.apps.search}</span>
      <input
        ref={field}
        type="search"
        value={typed}
        placeholder={t.apps.searchHint}
        autocomplete="off"
        autocapitalize="off"
        spellcheck={false}
        maxLength={40}
        onInput={(event) => setTyped(event.currentTarget.value)}
      />
    </label>
  );
}

export function AppsPage() {
  useTitle(t.nav.apps);
  const search = route.value.query.get("search") ?? "";
  const [totalsSeen, setTotals] = useState<AppList["totals"] | null>(null);
  const list = useListing<AppInfo>(`apps ${search}`, async (cursor, signal) => {
    // What is no part of a name is in none of them.
    if (!/^[a-z0-9-]*$/.test(search)) return { items: [] };
    const query = { search, limit: PAGE, after: cursor };
    const page = await call<AppList>("GET", "/v1/apps", { query, signal });
    setTotals(page.totals);
    return { items: page.apps, next: page.next };
  });
  const total = list.hasMore ? Math.max(totalsSeen?.apps ?? 0, list.items.length) : list.items.length;
  const row = useNarrow() ? TALL_ROW_PX : ROW_PX;
  const { body, shown } = useWindow(total, row);
  // What is in sight, or soon will be, is loaded.
  const needed = Math.min(total, shown.end + PAGE / 2);
  useEffect(() => {
    if (needed > list.items.length && list.hasMore && !list.loading && !list.problem) list.more();
  }, [needed, list.items.length, list.loading]);
  const isEmpty = list.items.length === 0 && !list.loading && !list.problem;
  const rows = [];
  for (let index = shown.first; index < Math.min(shown.end, total); index += 1) {
    rows.push(<Row key={list.items[index]?.app ?? index} app={list.items[index]} index={index} />);
  }
  return (
    <>
      <Heading aside={<Search search={search} />}>{t.nav.apps}</Heading>
      <p class="faint count" role="status">
        {totalsSeen ? t.apps.totals(count(totalsSeen.apps), count(totalsSeen.environments)) : list.loading ? t.loading : ""}
      </p>
      {list.problem && <ProblemBox problem={list.problem} again={list.reload} />}
      {isEmpty && (search ? <Empty title={t.apps.noneFound(search)} /> : <First />)}
      {total > 0 && (
        <table class="apps" aria-rowcount={total + 1}>
          <caption class="sr">{t.nav.apps}</caption>
          <thead>
            <tr aria-rowindex={1}>
              <th scope="col">{t.apps.app}</th>
              <th scope="col">{t.apps.health}</th>
              <th scope="col">{t.apps.version}</th>
              <th scope="col">{t.apps.since}</th>
              <th scope="col">{t.apps.who}</th>
              <th scope="col" class="figure">
                {t.apps.requests}
              </th>
              <th scope="col" class="figure">
                {t.apps.errors}
              </th>
            </tr>
          </thead>
          <tbody ref={body}>
            {shown.before > 0 && <Space height={shown.before} />}
            {rows}
            {shown.after > 0 && <Space height={shown.after} />}
          </tbody>
        </table>
      )}
    </>
  );
}

/** What stands in place of rows that are out of sight. */
function Space({ height }: { height: number }) {
  return (
    <tr aria-hidden="true" class="space">
      <td colSpan={7} style={{ height: `${height}px` }} />
    </tr>
  );
}
