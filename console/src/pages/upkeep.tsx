// What is rare and hurts: confirmations, limits, deletion, restoring.
import { useState } from "preact/hooks";
import type { Confirmation, DeletedThing } from "../api.ts";
import { call, path } from "../client.ts";
import { curl } from "../command.ts";
import { openDelete, openRestore } from "../dialogs/environment.tsx";
import { bytes, count, shortId } from "../format.ts";
import { rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { By, Empty, Mark, Opens, Outside, Pending, ProblemBox, When } from "../ui/basics.tsx";
import { ActionDialog, Check, openDialog } from "../ui/dialog.tsx";
import { AppFrame, environmentsOf, useApp, useTitle } from "../ui/frame.tsx";
import { type Column, Loaded, Table } from "../ui/table.tsx";

const CONFIRMATIONS: Confirmation[] = ["promote", "token", "delete"];

interface Usage {
  limits: { name: string; used?: number; max?: number; own?: boolean }[];
}

function ConfirmDialog({ app, now }: { app: string; now: Confirmation[] }) {
  const [chosen, setChosen] = useState(new Set(now));
  const confirm = CONFIRMATIONS.filter((one) => chosen.has(one));
  return (
    <ActionDialog
      title={t.confirmations.title}
      command={curl("PUT", location.origin + path`/v1/apps/${app}/confirmations`, { confirm })}
      commandHint={t.curlHint}
      label={t.settings.save}
      run={async () => {
        await call("PUT", path`/v1/apps/${app}/confirmations`, { body: { confirm } });
        return t.confirmations.saved;
      }}
    >
      <p>{t.confirmations.about}</p>
      {CONFIRMATIONS.map((one) => (
        <Check
          key={one}
          label={t.confirmations.kinds[one]}
          value={chosen.has(one)}
          set={(value) => setChosen((old) => new Set(value ? [...old, one] : [...old].filter((other) => other !== one)))}
        />
      ))}
    </ActionDialog>
  );
}

function Confirmations({ app }: { app: string }) {
  const own = useResource<{ confirm: Confirmation[] }>(`confirmations ${app}`, (signal) =>
    call("GET", path`/v1/apps/${app}/confirmations`, { signal }),
  );
  // An edge of another release may have none.
  if (own.problem?.status === 404) return null;
  return (
    <section aria-labelledby="confirmations">
      <h2 id="confirmations">{t.confirmations.title}</h2>
      <p class="faint">{t.confirmations.about}</p>
      <Loaded of={own}>
        {({ confirm }) => (
          <>
            <ul class="plain">
              {CONFIRMATIONS.map((one) => (
                <li key={one}>
                  <Mark tone={confirm.includes(one) ? "good" : "idle"}>
                    {t.confirmations.kinds[one]}: {confirm.includes(one) ? t.confirmations.asked : t.confirmations.notAsked}
                  </Mark>
                </li>
              ))}
            </ul>
            {rights.value.can("changeConfirmations", app) && (
              <div class="actions">
                <Opens label={t.settings.change} of={t.confirmations.title} open={() => openDialog(<ConfirmDialog app={app} now={confirm} />)} />
              </div>
            )}
          </>
        )}
      </Loaded>
    </section>
  );
}

type Limit = Usage["limits"][number];

/** A limit by its name, as that of edge.toml, is of bytes or of things. */
function amount({ name }: Limit, value: number): string {
  return name.includes("bytes") ? bytes(value) : count(value);
}

function Used({ limit }: { limit: Limit }) {
  const { used, max } = limit;
  if (used === undefined) return <>—</>;
  const text = amount(limit, used);
  return max !== undefined && used >= max ? <Mark tone="bad">{text}</Mark> : <>{text}</>;
}

const LIMIT_COLUMNS: Column<Limit>[] = [
  {
    head: t.limits.name,
    isName: true,
    cell: (limit) => (
      <code>
        <Outside text={limit.name} />
      </code>
    ),
  },
  { head: t.limits.used, isFigure: true, cell: (limit) => <Used limit={limit} /> },
  { head: t.limits.max, isFigure: true, cell: (limit) => (limit.max === undefined ? t.limits.none : amount(limit, limit.max)) },
];

function Limits({ app }: { app: string }) {
  const usage = useResource<Usage>(`usage ${app}`, (signal) => call("GET", path`/v1/apps/${app}/usage`, { signal }));
  return (
    <section aria-labelledby="limits">
      <h2 id="limits">{t.limits.title}</h2>
      <Loaded of={usage}>
        {({ limits }) => <Table name={t.limits.title} columns={LIMIT_COLUMNS} rows={limits} rowKey={(limit) => limit.name} />}
      </Loaded>
    </section>
  );
}

function nameOf(thing: DeletedThing): string {
  return thing.version ? shortId(thing.version) : (thing.environment ?? thing.app);
}

function Deleted({ app }: { app: string }) {
  const list = useResource<DeletedThing[]>(`deleted ${app}`, (signal) =>
    call("GET", path`/v1/apps/${app}/deleted`, { signal }),
  );
  const things = list.data ?? [];
  const mayRestore = (thing: DeletedThing) => rights.value.can(thing.version && !thing.environment ? "restoreVersion" : "restore", app);
  return (
    <section aria-labelledby="deleted">
      <h2 id="deleted">{t.restore.list}</h2>
      <Pending of={list} />
      {list.data !== null && things.length === 0 && <p class="faint">{t.restore.none}</p>}
      <ul class="previews">
        {things.map((thing) => (
          <li key={`${thing.environment ?? ""} ${thing.version ?? ""}`}>
            <p>
              <strong>
                <Outside text={nameOf(thing)} />
              </strong>{" "}
              {thing.version ? t.restore.aVersion : thing.environment ? t.restore.anEnvironment : t.restore.anApp}
            </p>
            <p class="faint">
              <When at={thing.deleted_ms} />
              <By who={thing.who} />
              {" · "}
              {t.restore.until} <When at={thing.until_ms} />
            </p>
            {mayRestore(thing) && (
              <div class="actions">
                <Opens label={t.restore.label} of={nameOf(thing)} open={() => openRestore(thing)} />
              </div>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

export function UpkeepPage({ app }: { app: string }) {
  useTitle(t.tabs.upkeep, app);
  const info = useApp(app);
  const may = rights.value;
  const isGone = info.problem?.code === "deleted";
  const names = environmentsOf(info.data);
  return (
    <AppFrame app={app} info={info.data}>
      {isGone ? <Empty title={t.restore.appIsGone} /> : info.problem && !info.data ? <ProblemBox problem={info.problem} again={info.reload} /> : null}
      {info.data && <Confirmations app={app} />}
      {info.data && may.can("seeLimits", app) && <Limits app={app} />}
      <Deleted app={app} />
      {info.data && may.can("remove", app) && (
        <section aria-labelledby="delete">
          <h2 id="delete">{t.delete.section}</h2>
          <p class="faint">{t.delete.about}</p>
          <div class="actions">
            {names.map((env) => (
              <Opens key={env} label={t.delete.title(env)} open={() => openDelete(app, env)} />
            ))}
            <Opens look="danger" label={t.delete.app(app)} open={() => openDelete(app, null)} />
          </div>
        </section>
      )}
    </AppFrame>
  );
}
