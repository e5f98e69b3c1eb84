// What is rare and hurts: confirmations, limits, deletion, restoring.
import { useState } from "preact/hooks";
import type { Confirmation, DeletedThing } from "../api.ts";
import { call, path } from "../client.ts";
import { curl } from "../command.ts";
import { openDelete, openRestore } from "../dialogs/environment.tsx";
import { count, shortId } from "../format.ts";
import { rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { Button, Empty, Mark, Outside, Pending, ProblemBox, When } from "../ui/basics.tsx";
import { ActionDialog, Check, openDialog } from "../ui/dialog.tsx";
import { AppFrame, environmentsOf, useApp, useTitle } from "../ui/frame.tsx";

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
      <Pending of={own} />
      {own.data && (
        <>
          <ul class="plain">
            {CONFIRMATIONS.map((one) => (
              <li key={one}>
                <Mark tone={own.data?.confirm.includes(one) ? "good" : "idle"}>
                  {t.confirmations.kinds[one]}: {own.data?.confirm.includes(one) ? t.confirmations.asked : t.confirmations.notAsked}
                </Mark>
              </li>
            ))}
          </ul>
          {rights.value.mayEverywhere("admin", app) && (
            <Button onClick={() => openDialog(<ConfirmDialog app={app} now={own.data?.confirm ?? []} />)}>{t.settings.change}…</Button>
          )}
        </>
      )}
    </section>
  );
}

function Limits({ app }: { app: string }) {
  const usage = useResource<Usage>(`usage ${app}`, (signal) => call("GET", path`/v1/apps/${app}/usage`, { signal }));
  return (
    <section aria-labelledby="limits">
      <h2 id="limits">{t.limits.title}</h2>
      <Pending of={usage} />
      {usage.data && (
        <div class="scroll" tabIndex={0} role="group" aria-label={t.limits.title}>
          <table>
            <thead>
              <tr>
                <th scope="col">{t.limits.name}</th>
                <th scope="col" class="figure">{t.limits.used}</th>
                <th scope="col" class="figure">{t.limits.max}</th>
              </tr>
            </thead>
            <tbody>
              {usage.data.limits.map((limit) => (
                <tr key={limit.name}>
                  <th scope="row">
                    <code>
                      <Outside text={limit.name} />
                    </code>
                  </th>
                  <td class="figure">
                    {limit.used !== undefined && limit.max !== undefined && limit.used >= limit.max ? (
                      <Mark tone="bad">{count(limit.used)}</Mark>
                    ) : limit.used === undefined ? (
                      "—"
                    ) : (
                      count(limit.used)
                    )}
                  </td>
                  <td class="figure">{limit.max === undefined ? t.limits.none : count(limit.max)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Deleted({ app }: { app: string }) {
  const list = useResource<DeletedThing[]>(`deleted ${app}`, (signal) =>
    call("GET", path`/v1/apps/${app}/deleted`, { signal }),
  );
  const things = list.data ?? [];
  const mayRestore = (thing: DeletedThing) =>
    rights.value.mayEverywhere(thing.version && !thing.environment ? "push" : "admin", app);
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
                <Outside text={thing.version ? shortId(thing.version) : (thing.environment ?? thing.app)} />
              </strong>{" "}
              {thing.version ? t.restore.aVersion : thing.environment ? t.restore.anEnvironment : t.restore.anApp}
            </p>
            <p class="faint">
              <When at={thing.deleted_ms} /> {t.by} <Outside text={thing.who} />
              {" · "}
              {t.restore.until} <When at={thing.until_ms} />
            </p>
            {mayRestore(thing) && (
              <div class="actions">
                <Button onClick={() => openRestore(thing)}>{t.restore.label}…</Button>
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
      {info.data && may.mayEverywhere("read", app) && <Limits app={app} />}
      <Deleted app={app} />
      {info.data && may.mayEverywhere("admin", app) && (
        <section aria-labelledby="delete">
          <h2 id="delete">{t.delete.section}</h2>
          <p class="faint">{t.delete.about}</p>
          <div class="actions">
            {names.map((env) => (
              <Button key={env} onClick={() => openDelete(app, env)}>
                {t.delete.environment} <Outside text={env} />…
              </Button>
            ))}
            <Button look="danger" onClick={() => openDelete(app, null)}>
              {t.delete.app} <Outside text={app} />…
            </Button>
          </div>
        </section>
      )}
    </AppFrame>
  );
}
