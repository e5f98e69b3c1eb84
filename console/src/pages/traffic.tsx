// Charts of an environment: requests, errors, latency, bytes and bytes saved, with the switches marked.
import { useEffect, useRef, useState } from "preact/hooks";
import type { InApp, Traffic } from "../api.ts";
import type { Chart, Drawing } from "../chart.ts";
import { brief, bytes, clock, count, duration, exact, percent, shortId } from "../format.ts";
import { route, setQuery, to } from "../router.ts";
import { type Measure, OTHERS, type Series, series, type Totals, totals, versionsOf } from "../series.ts";
import { useResource } from "../state.ts";
import { t } from "../texts.ts";
import { loadTraffic } from "../traffic.ts";
import { Empty, Fact, Id, Pending, Unanswered } from "../ui/basics.tsx";
import { Check } from "../ui/dialog.tsx";
import { AppFrame, chosenEnvironment, useApp, useTitle } from "../ui/frame.tsx";
import { type Column, Loaded, Table } from "../ui/table.tsx";

const SPANS: Record<string, number> = { "1h": 3_600_000, "3h": 3 * 3_600_000, "24h": 86_400_000, "7d": 7 * 86_400_000 };

const MEASURES: [measure: Measure, format: (value: number) => string, whole: boolean][] = [
  ["requests", brief, true],
  ["errors", brief, true],
  ["client_errors", brief, true],
  ["latency", duration, false],
  ["bytes", bytes, true],
  ["bytes_saved", bytes, true],
];

/** What a line stands for. */
function label(one: Series["lines"][number]): string {
  const version = one.version === null ? t.traffic.all : one.version === OTHERS ? t.traffic.others : shortId(one.version);
  return one.quantile ? `${version} ${one.quantile}` : version;
}

function ChartBox({ drawing, name }: { drawing: Drawing; name: string }) {
  const element = useRef<HTMLDivElement>(null);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    const box = element.current;
    if (!box) return;
    let chart: Chart | null = null;
    let gone = false;
    const drawAgain = async () => {
      try {
        const { draw } = await import("../chart.ts");
        if (gone) return;
        chart?.destroy();
        chart = draw(box, drawing);
      } catch {
        setFailed(true);
      }
    };
    void drawAgain();
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const recolor = () => void drawAgain();
    scheme.addEventListener("change", recolor);
    const sizes = new ResizeObserver(() => chart?.resize(Math.max(200, box.clientWidth)));
    sizes.observe(box);
    return () => {
      gone = true;
      scheme.removeEventListener("change", recolor);
      sizes.disconnect();
      chart?.destroy();
    };
  }, [drawing]);
  return (
    <>
      <div class="chart-box" ref={element} role="img" aria-label={name} />
      {failed && <p class="faint">{t.traffic.notDrawn}</p>}
    </>
  );
}

function Figures({ one, name, format }: { one: Series; name: string; format: (value: number) => string }) {
  const [open, setOpen] = useState(false);
  return (
    <details class="figures" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{t.traffic.figures}</summary>
      {open && (
        <Table
          name={name}
          isDense
          isTall
          columns={[
            {
              head: t.traffic.time,
              isName: true,
              cell: (index) => {
                const time = (one.times[index] ?? 0) * 1000;
                return <span title={exact(time)}>{clock(time)}</span>;
              },
            },
            ...one.lines.map((line) => ({
              head: label(line),
              isFigure: true,
              cell: (index: number) => {
                const value = line.values[index];
                return value !== null && value !== undefined && format(value);
              },
            })),
          ]}
          rows={[...one.times.keys()]}
          rowKey={(index) => one.times[index] ?? index}
        />
      )}
    </details>
  );
}

interface MeasuredProps {
  traffic: Traffic;
  span: number;
  measure: Measure;
  format: (value: number) => string;
  whole: boolean;
  byVersion: boolean;
}

function Measured({ traffic, span, measure, format, whole, byVersion }: MeasuredProps) {
  const one = series(traffic, measure, byVersion);
  const name = t.traffic.measures[measure];
  const labels = one.lines.map(label);
  const switches = traffic.switches.map((moment) => moment.at_ms / 1000);
  // A line along the bottom says less than the word, and takes a quarter of the window.
  const isFlat = one.lines.every((line) => line.values.every((value) => !value));
  return (
    <section class="chart" aria-label={name}>
      <header>
        <h2>{name}</h2>
        {!isFlat && (
          <ul class="legend">
            {labels.map((text, index) => (
              <li key={text}>
                <svg viewBox="0 0 24 8" aria-hidden="true" class={`line-${(index % 6) + 1}`}>
                  <path d="M0 4h24" />
                </svg>
                {text}
              </li>
            ))}
          </ul>
        )}
      </header>
      {isFlat ? (
        <p class="faint">{t.traffic.flat}</p>
      ) : (
        <>
          <Memo traffic={traffic} measure={measure} byVersion={byVersion} name={name}>
            {{ series: one, labels, span: [(traffic.to_ms - span) / 1000, traffic.to_ms / 1000], whole, switches, format }}
          </Memo>
          <Figures one={one} name={name} format={format} />
        </>
      )}
    </section>
  );
}

/** Draws again only when there is something else to draw. */
function Memo({ traffic, measure, byVersion, name, children }: { traffic: Traffic; measure: Measure; byVersion: boolean; name: string; children: Drawing }) {
  const kept = useRef<{ of: unknown[]; drawing: Drawing } | null>(null);
  const of = [traffic, measure, byVersion];
  if (!kept.current || kept.current.of.some((one, index) => one !== of[index])) kept.current = { of, drawing: children };
  return <ChartBox drawing={kept.current.drawing} name={name} />;
}

function Sums({ traffic, app, env }: InApp & { traffic: Traffic }) {
  const sums = totals(traffic);
  /** A count of errors, with the way to the requests that had them. */
  const errors = (number: number, status: string) => (
    <>
      {number > 0 ? <a href={to("requests", { app }, { env, status })}>{count(number)}</a> : count(number)}{" "}
      <span class="faint">{percent(number, sums.requests)}</span>
    </>
  );
  return (
    <dl class="facts big">
      <Fact name={t.traffic.measures.requests}>{count(sums.requests)}</Fact>
      <Fact name={t.traffic.measures.errors}>{errors(sums.errors, "5xx")}</Fact>
      <Fact name={t.traffic.measures.client_errors}>{errors(sums.client_errors, "4xx")}</Fact>
      <Fact name={t.traffic.p99}>{sums.p99 === null ? "—" : duration(sums.p99)}</Fact>
      <Fact name={t.traffic.measures.bytes}>{bytes(sums.bytes)}</Fact>
      <Fact name={t.traffic.measures.bytes_saved}>
        {bytes(sums.bytes_saved)} <span class="faint">{percent(sums.bytes_saved, sums.bytes + sums.bytes_saved)}</span>
      </Fact>
    </dl>
  );
}

interface VersionSums extends Totals {
  version: string;
}

/** A column of counts, each with its share of the requests. */
function share(measure: "errors" | "client_errors"): Column<VersionSums> {
  return {
    head: t.traffic.measures[measure],
    isFigure: true,
    cell: (sums) => (
      <>
        {count(sums[measure])} <span class="faint">{percent(sums[measure], sums.requests)}</span>
      </>
    ),
  };
}

const VERSION_COLUMNS: Column<VersionSums>[] = [
  { head: t.apps.version, isName: true, cell: (sums) => <Id id={sums.version} /> },
  { head: t.traffic.measures.requests, isFigure: true, cell: (sums) => count(sums.requests) },
  share("errors"),
  share("client_errors"),
  { head: t.traffic.p99, isFigure: true, cell: (sums) => sums.p99 !== null && duration(sums.p99) },
  { head: t.traffic.measures.bytes, isFigure: true, cell: (sums) => bytes(sums.bytes) },
];

function Versions({ traffic }: { traffic: Traffic }) {
  const rows = versionsOf(traffic).map((version) => ({ version, ...totals(traffic, version) }));
  if (rows.length === 0) return null;
  return (
    <section aria-labelledby="by-version">
      <h2 id="by-version">{t.traffic.versions}</h2>
      <Table name={t.traffic.versions} columns={VERSION_COLUMNS} rows={rows} rowKey={({ version }) => version} />
    </section>
  );
}

function Shown({ app, env, traffic, span, byVersion }: InApp & { traffic: Traffic; span: number; byVersion: boolean }) {
  return (
    <>
      <Sums app={app} env={env} traffic={traffic} />
      {versionsOf(traffic).length === 0 ? (
        <Empty title={t.traffic.none} />
      ) : (
        MEASURES.map(([measure, format, whole]) => (
          <Measured key={measure} traffic={traffic} span={span} measure={measure} format={format} whole={whole} byVersion={byVersion} />
        ))
      )}
      <Versions traffic={traffic} />
      <Unanswered nodes={traffic.missing} text={t.traffic.missing} />
      {traffic.switches.length > 0 && (
        <section aria-labelledby="switches">
          <h2 id="switches">{t.traffic.switches}</h2>
          <ol class="switches">
            {traffic.switches.map((one) => (
              <li key={one.deploy}>
                <span class="figure">{exact(one.at_ms)}</span> <Id id={one.version} />
              </li>
            ))}
          </ol>
        </section>
      )}
      <p class="faint below">{t.traffic.kept}</p>
    </>
  );
}

export function TrafficPage({ app }: { app: string }) {
  useTitle(t.tabs.traffic, app);
  const info = useApp(app);
  const env = chosenEnvironment(info.data);
  const query = route.value.query;
  const span = SPANS[query.get("span") ?? ""] === undefined ? "3h" : (query.get("span") ?? "3h");
  const byVersion = query.get("by") === "version";
  const traffic = useResource<Traffic>(
    env ? `traffic ${app} ${env} ${span}` : null,
    (signal) => loadTraffic(app, env ?? "", Date.now() - (SPANS[span] ?? 0), Date.now(), signal),
    30_000,
  );
  return (
    <AppFrame app={app} info={info.data} env={env}>
      <Pending of={info} />
      <div class="toolbar">
        <span class="segments" role="group" aria-label={t.traffic.span}>
          {Object.keys(SPANS).map((name) => (
            <button key={name} type="button" class="button quiet" aria-pressed={name === span} onClick={() => setQuery({ span: name })}>
              {t.traffic.spans[name as keyof typeof t.traffic.spans]}
            </button>
          ))}
        </span>
        <Check label={t.traffic.byVersion} value={byVersion} set={(value) => setQuery({ by: value ? "version" : null })} />
      </div>
      {env && <Loaded of={traffic}>{(data) => <Shown app={app} env={env} traffic={data} span={SPANS[span] ?? 0} byVersion={byVersion} />}</Loaded>}
    </AppFrame>
  );
}
