// The difference of any two versions: both are picked from lists.
import { useId } from "preact/hooks";
import type { AliasListing, Choices } from "../choices.ts";
import { choicesOf } from "../choices.ts";
import type { History } from "../api.ts";
import { refusedBy } from "../canary.ts";
import { call, path, placePath } from "../client.ts";
import { at, devanture } from "../command.ts";
import { openPromote, openSwitch } from "../dialogs/going_live.tsx";
import { shortId } from "../format.ts";
import { route, setQuery } from "../router.ts";
import { rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { Button, Empty, Opens, Pending, SameByCommand } from "../ui/basics.tsx";
import { BeginsCanary, Refusal } from "../ui/canary.tsx";
import { DiffPage } from "../ui/diff.tsx";
import { AppFrame, chosenEnvironment, environmentsOf, useApp, useStatus, useTitle } from "../ui/frame.tsx";

/** Deploys whose versions can be picked; any other version can be typed. */
const HISTORY = 100;

function Side({ label, value, choices, set }: { label: string; value: string; choices: Choices; set: (value: string) => void }) {
  const id = useId();
  const isKnown = [...choices.environments, ...choices.aliases, ...choices.versions].some((one) => one.value === value);
  const group = (name: string, options: Choices["versions"]) =>
    options.length > 0 && (
      <optgroup label={name}>
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.text}
          </option>
        ))}
      </optgroup>
    );
  return (
    <div class="side">
      <label for={id}>{label}</label>
      <select id={id} value={value} onChange={(event) => set(event.currentTarget.value)}>
        {value === "" && <option value="">{t.compare.pick}</option>}
        {value !== "" && !isKnown && <option value={value}>{shortId(value)}</option>}
        {group(t.compare.environments, choices.environments)}
        {group(t.compare.aliases, choices.aliases)}
        {group(t.compare.versions, choices.versions)}
      </select>
    </div>
  );
}

export function ComparePage({ app }: { app: string }) {
  useTitle(t.tabs.compare, app);
  const info = useApp(app);
  const env = chosenEnvironment(info.data);
  const status = useStatus(app, env);
  const history = useResource<History>(env ? `compare ${app} ${env}` : null, (signal) =>
    call("GET", placePath(app, env ?? "", "history"), { query: { limit: HISTORY }, signal }),
  );
  const aliases = useResource<AliasListing>(`aliases ${app}`, (signal) =>
    call("GET", path`/v1/apps/${app}/aliases`, { query: { limit: 200 }, signal }),
  );
  const names = environmentsOf(info.data);
  const choices = choicesOf(names, aliases.data?.aliases ?? [], history.data);
  const from = route.value.query.get("from") ?? env ?? "";
  const to = route.value.query.get("to") ?? "";
  const may = rights.value;
  return (
    <AppFrame app={app} info={info.data} env={env}>
      <Pending of={info} />
      <form class="sides" onSubmit={(event) => event.preventDefault()}>
        <Side label={t.compare.from} value={from} choices={choices} set={(value) => setQuery({ from: value })} />
        <Button look="quiet" onClick={() => setQuery({ from: to, to: from })} disabled={!to}>
          {t.compare.turn}
        </Button>
        <Side label={t.compare.to} value={to} choices={choices} set={(value) => setQuery({ to: value })} />
      </form>
      {from && to ? (
        <>
          <DiffPage key={`${from} ${to}`} app={app} from={from} to={to} env={env} />
          <div class="actions">
            {env && isVersion(to) && status.data && to !== status.data.version && may.can("goLive", app, env) && (
              <>
                <Refusal status={status.data} />
                <Opens
                  look="main"
                  label={t.switch.to(shortId(to))}
                  refused={refusedBy(status.data.canary)}
                  open={() => openSwitch({ app, env, version: to })}
                />
                <BeginsCanary app={app} env={env} version={to} status={status.data} />
              </>
            )}
            {names.includes(from) && may.sources(app, from, names).includes(to) && (
              <Opens look="main" label={t.promote.to(from)} open={() => openPromote({ app, env: from, sources: [to] })} />
            )}
          </div>
          <SameByCommand text={devanture("diff", shortSide(from), shortSide(to), ...at(app, env ?? undefined))} />
        </>
      ) : (
        <Empty title={t.compare.pickBoth} />
      )}
    </AppFrame>
  );
}

/** Names are never hex digits alone. */
function isVersion(side: string): boolean {
  return /^[0-9a-f]{12,64}$/.test(side);
}

function shortSide(side: string): string {
  return isVersion(side) ? shortId(side) : side;
}
