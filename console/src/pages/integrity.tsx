// The hashes in the pages of what is live, and what browsers reported about what has none.
import type { InApp } from "../api.ts";
import type { IntegrityMode, IntegrityReport, IntegrityReports } from "../api_more.ts";
import { at, devanture } from "../command.ts";
import { call, placePath } from "../client.ts";
import { count } from "../format.ts";
import type { Tone } from "../health.ts";
import { PREVIEWS } from "../protection.ts";
import { rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { m } from "../texts_more.ts";
import { Empty, Fact, Id, Mark, Outside, Pending, SameByCommand, Unanswered, When } from "../ui/basics.tsx";
import { AppFrame, chosenEnvironment, useApp, useTitle } from "../ui/frame.tsx";
import { type Column, Loaded, Table } from "../ui/table.tsx";

/** How often it is looked for reports. */
const LOOK_MS = 10_000;

const TONES: Record<IntegrityMode, Tone> = { off: "idle", report: "warn", enforce: "good" };

function Live({ env, live }: { env: string; live: IntegrityReports["live"] }) {
  if (!live) return <p class="faint">{env === PREVIEWS ? m.integrity.ofPreviews : m.integrity.none}</p>;
  return (
    <>
      <dl class="facts">
        <Fact name={m.integrity.live}>
          <Id id={live.version} />
        </Fact>
        <Fact name={m.integrity.mode}>
          <Mark tone={TONES[live.mode] ?? "idle"}>{m.integrity.modes[live.mode] ?? live.mode}</Mark>
        </Fact>
        {live.mode !== "off" && <Fact name={m.integrity.pages}>{count(live.pages)}</Fact>}
      </dl>
      {live.mode !== "off" && live.pages === 0 && (
        <p>
          <Mark tone="warn">{m.integrity.old}</Mark>
        </p>
      )}
    </>
  );
}

const COLUMNS: Column<IntegrityReport>[] = [
  { head: m.integrity.blocked, isName: true, class: "value", cell: (one) => <Outside text={one.blocked} /> },
  { head: m.integrity.page, class: "value", cell: (one) => <Outside text={one.page} /> },
  { head: m.integrity.destination, cell: (one) => <Outside text={one.destination} /> },
  {
    head: m.integrity.result,
    cell: (one) => <Mark tone={one.enforced ? "bad" : "warn"}>{one.enforced ? m.integrity.enforced : m.integrity.reported}</Mark>,
  },
  { head: m.integrity.count, isFigure: true, cell: (one) => count(one.count) },
  { head: m.integrity.first, class: "faint", cell: (one) => <When at={one.first_ms} /> },
  { head: m.integrity.last, cell: (one) => <When at={one.last_ms} /> },
];

function keyOf({ blocked, destination, page, enforced }: IntegrityReport): string {
  return JSON.stringify([blocked, destination, page, enforced]);
}

function Reports({ found }: { found: IntegrityReports }) {
  return (
    <section class="below" aria-labelledby="reports">
      <h2 id="reports">{m.integrity.reports}</h2>
      <p class="faint about">{m.integrity.reportsAbout}</p>
      <Unanswered nodes={found.missing} text={m.integrity.missing} />
      {found.reports.length === 0 ? (
        <Empty title={m.integrity.noReports} />
      ) : (
        <Table name={m.integrity.reports} columns={COLUMNS} rows={found.reports} rowKey={keyOf} />
      )}
    </section>
  );
}

function Integrity({ app, env }: InApp) {
  const found = useResource<IntegrityReports>(
    `integrity ${app} ${env}`,
    (signal) => call("GET", placePath(app, env, "integrity"), { signal }),
    LOOK_MS,
  );
  return (
    <>
      <section aria-labelledby="hashes">
        <h2 id="hashes">{m.integrity.title}</h2>
        <p class="faint about">{m.integrity.about}</p>
        <Loaded of={found}>{({ live }) => <Live env={env} live={live} />}</Loaded>
      </section>
      {found.data && <Reports found={found.data} />}
      <SameByCommand text={devanture("integrity", ...at(app, env))} />
    </>
  );
}

export function IntegrityPage({ app }: { app: string }) {
  useTitle(t.tabs.integrity, app);
  const info = useApp(app);
  const env = chosenEnvironment(info.data);
  const others = rights.value.can("seeReports", app, PREVIEWS) ? [PREVIEWS] : [];
  return (
    <AppFrame app={app} info={info.data} env={env} others={others}>
      <Pending of={info} />
      {env && (rights.value.can("seeReports", app, env) ? <Integrity key={env} app={app} env={env} /> : <Empty title={t.forbidden} />)}
    </AppFrame>
  );
}
