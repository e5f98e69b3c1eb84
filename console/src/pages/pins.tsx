// Visitors who are held on the version that was live when they came: where, on which versions, and their release.
import type { Deploy, History, Status } from "../api.ts";
import { call, placePath } from "../client.ts";
import { openUnpin } from "../dialogs/pins.tsx";
import { firstLine } from "../format.ts";
import { rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { m } from "../texts_more.ts";
import { By, Empty, Id, Mark, Opens, Outside, Pending, When } from "../ui/basics.tsx";
import { AppFrame, environmentsOf, useApp, useTitle } from "../ui/frame.tsx";
import { type Column, Loaded, Table } from "../ui/table.tsx";

/** How often it is looked at. */
const LOOK_MS = 10_000;
/** Deploys among which those that made a held version live are looked for. */
const RECENT = 50;

/** An earlier version on which visitors are held. */
interface HeldVersion {
  environment: string;
  version: string;
  /** What made it live, as far as that is among the last deploys. */
  deploy: Deploy | undefined;
}

interface Held {
  environments: Status[];
  versions: HeldVersion[];
}

/** Deploys that did not make their version live. */
const WITHOUT_SWITCH = ["failed", "stored", "superseded"];

async function heldIn(status: Status, signal: AbortSignal): Promise<HeldVersion[]> {
  const { app, environment, pinned = [] } = status;
  if (pinned.length === 0) return [];
  const { deploys } = await call<History>("GET", placePath(app, environment, "history"), { query: { limit: RECENT }, signal });
  return pinned.map((version) => ({
    environment,
    version,
    deploy: deploys.find((deploy) => deploy.version === version && !WITHOUT_SWITCH.includes(deploy.outcome)),
  }));
}

async function load(app: string, names: string[], signal: AbortSignal): Promise<Held> {
  const environments = await Promise.all(names.map((env) => call<Status>("GET", placePath(app, env), { signal })));
  const versions = await Promise.all(environments.map((status) => heldIn(status, signal)));
  return { environments, versions: versions.flat() };
}

function environmentColumns(app: string): Column<Status>[] {
  return [
    { head: t.environment, isName: true, cell: ({ environment }) => <Outside text={environment} /> },
    { head: t.apps.version, cell: ({ version }) => <Id id={version} /> },
    {
      head: m.pins.visitors,
      cell: ({ pins }) => <Mark tone={pins ? "good" : "idle"}>{pins ? m.pins.holds : m.pins.holdsNot}</Mark>,
    },
    {
      head: m.pins.earlier,
      cell: ({ pinned = [] }) => (pinned.length > 0 ? <Mark tone="busy">{t.card.heldOn(pinned.length)}</Mark> : m.pins.nobody),
    },
    {
      head: t.actions,
      cell: ({ environment, version, pinned = [] }) =>
        pinned.length > 0 &&
        rights.value.can("unpin", app, environment) && (
          <Opens label={m.pins.release} of={environment} open={() => openUnpin({ app, env: environment, live: version, pinned })} />
        ),
    },
  ];
}

const VERSION_COLUMNS: Column<HeldVersion>[] = [
  { head: t.apps.version, isName: true, cell: ({ version }) => <Id id={version} /> },
  { head: t.environment, cell: ({ environment }) => <Outside text={environment} /> },
  { head: t.deploys.message, cell: ({ deploy }) => deploy?.source.message && <Outside text={firstLine(deploy.source.message)} /> },
  {
    head: m.pins.live,
    class: "faint",
    cell: ({ deploy }) =>
      deploy ? (
        <>
          <When at={deploy.at_ms} />
          <By who={deploy.who} />
        </>
      ) : (
        m.pins.unknown
      ),
  },
];

function Pins({ app, names }: { app: string; names: string[] }) {
  const held = useResource<Held>(`pins ${app} ${names.join(" ")}`, (signal) => load(app, names, signal), LOOK_MS);
  return (
    <>
      <section aria-labelledby="pins">
        <h2 id="pins">{m.pins.title}</h2>
        <p class="faint about">{m.pins.about}</p>
        <Loaded of={held}>
          {({ environments }) =>
            environments.length === 0 ? (
              <Empty title={m.pins.none} />
            ) : (
              <Table name={m.pins.title} columns={environmentColumns(app)} rows={environments} rowKey={(status) => status.environment} />
            )
          }
        </Loaded>
      </section>
      {held.data && (
        <section class="below" aria-labelledby="held">
          <h2 id="held">{m.pins.versions}</h2>
          {held.data.versions.length === 0 ? (
            <Empty title={m.pins.noVersions} />
          ) : (
            <Table name={m.pins.versions} columns={VERSION_COLUMNS} rows={held.data.versions} rowKey={(one) => `${one.environment} ${one.version}`} />
          )}
        </section>
      )}
    </>
  );
}

export function PinsPage({ app }: { app: string }) {
  useTitle(t.tabs.pins, app);
  const info = useApp(app);
  return (
    <AppFrame app={app} info={info.data}>
      <Pending of={info} />
      {info.data && <Pins app={app} names={environmentsOf(info.data)} />}
    </AppFrame>
  );
}
