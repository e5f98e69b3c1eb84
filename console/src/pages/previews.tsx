// Previews: aliases and versions at hostnames of their own, and a frame to look at one without leaving.
import { useState } from "preact/hooks";
import type { Deploy, Place, Status } from "../api.ts";
import { type AliasListing, versionsOf } from "../choices.ts";
import { refusedBy } from "../canary.ts";
import { call, path } from "../client.ts";
import { openEndAlias, openShare } from "../dialogs/previews.tsx";
import { openSwitch } from "../dialogs/going_live.tsx";
import { firstLine, shortId } from "../format.ts";
import { useHistory } from "../history.ts";
import { previewOf } from "../preview_address.ts";
import { visible } from "../outside_text.ts";
import { rights, useListing } from "../state.ts";
import { t } from "../texts.ts";
import { Away, Button, By, Id, Opens, Outside, Pending, Tag, When } from "../ui/basics.tsx";
import { BeginsCanary, Refusal } from "../ui/canary.tsx";
import { AppFrame, chosenEnvironment, useApp, useStatus, useTitle } from "../ui/frame.tsx";
import { PreviewFrame, type Shown } from "../ui/preview_frame.tsx";
import { Listed } from "../ui/table.tsx";

const RECENT = 30;
/** What both kinds of previews lead to. */
interface Leads {
  app: string;
  /** Shows one in the frame of the page; `shown` is the address of the one that is there. */
  show: (one: Shown) => void;
  shown: string | undefined;
  /** The chosen environment, with what is live there. */
  target: { env: string; live: string | null; status: Status } | null;
}

function Show({ one, leads }: { one: Shown; leads: Leads }) {
  return (
    <Button onClick={() => leads.show(one)} aria-label={t.previews.showOf(visible(one.name))} aria-pressed={leads.shown === one.url}>
      {t.previews.show}
    </Button>
  );
}

function GoLive({ version, leads: { app, target } }: { version: string; leads: Leads }) {
  if (!target || version === target.live || !rights.value.can("goLive", app, target.env)) return null;
  const { env, status } = target;
  return (
    <>
      <Opens label={t.switch.short(env)} of={shortId(version)} refused={refusedBy(status.canary)} open={() => openSwitch({ app, env, version })} />
      <BeginsCanary app={app} env={env} version={version} status={status} />
    </>
  );
}

function Alias({ place, leads }: { place: Place; leads: Leads }) {
  const { app } = leads;
  return (
    <li>
      <p class="preview-name">
        <strong>
          <Outside text={place.name} />
        </strong>{" "}
        <Id id={place.version} />
      </p>
      <p class="faint">
        <When at={place.since_ms} />
        <By who={place.who} />
        {place.expires_ms && (
          <>
            {" · "}
            {t.previews.ends} <When at={place.expires_ms} />
          </>
        )}
      </p>
      <p>
        <Away href={place.url} />
      </p>
      <div class="actions">
        <Show one={place} leads={leads} />
        <GoLive version={place.version} leads={leads} />
        {rights.value.can("share", app) && <Opens label={t.previews.end} of={place.name} open={() => openEndAlias(app, place)} />}
      </div>
    </li>
  );
}

function Version({ deploy, url, leads }: { deploy: Deploy; url: string | null; leads: Leads }) {
  const { app } = leads;
  const { version } = deploy;
  const short = shortId(version);
  return (
    <li>
      <p class="preview-name">
        <Id id={version} /> {version === leads.target?.live && <Tag>{t.deploys.current}</Tag>}
        {deploy.kind === "push" && deploy.outcome === "failed" && <Tag>{t.outcomes.failed}</Tag>}
      </p>
      {deploy.source.message && (
        <p class="message">
          <Outside text={firstLine(deploy.source.message)} />
        </p>
      )}
      <p class="faint">
        <When at={deploy.at_ms} />
        <By who={deploy.who} />
      </p>
      <div class="actions">
        {url && <Show one={{ name: short, version, url }} leads={leads} />}
        {url && <Away href={url}>{t.previews.open}</Away>}
        {url && rights.value.can("share", app) && <Opens label={t.share.label} of={short} open={() => openShare({ app, version, url })} />}
        <GoLive version={version} leads={leads} />
      </div>
    </li>
  );
}

export function PreviewsPage({ app }: { app: string }) {
  useTitle(t.tabs.previews, app);
  const info = useApp(app);
  const env = chosenEnvironment(info.data);
  const status = useStatus(app, env);
  const [shown, setShown] = useState<Shown | null>(null);
  const aliases = useListing<Place>(`previews ${app}`, async (cursor, signal) => {
    const page = await call<AliasListing>("GET", path`/v1/apps/${app}/aliases`, { query: { limit: 100, after: cursor }, signal });
    return { items: page.aliases, next: page.next };
  });
  const history = useHistory(app, env, RECENT);
  const target = env && status.data ? { env, live: status.data.version, status: status.data } : null;
  const leads: Leads = { app, show: setShown, shown: shown?.url, target };
  return (
    <AppFrame app={app} info={info.data} env={env}>
      <Pending of={info} />
      <Refusal status={status.data} />
      {shown && <PreviewFrame key={shown.url} app={app} shown={shown} close={() => setShown(null)} />}
      <section aria-labelledby="aliases">
        <h2 id="aliases">{t.previews.aliases}</h2>
        <Listed of={aliases} none={<p class="faint">{t.previews.noAliases}</p>}>
          {(places) => (
            <ul class="previews">
              {places.map((place) => (
                <Alias key={place.name} place={place} leads={leads} />
              ))}
            </ul>
          )}
        </Listed>
      </section>
      <section aria-labelledby="versions">
        <h2 id="versions">{t.previews.versions}</h2>
        <Listed of={history} none={t.deploys.none}>
          {(deploys) => (
            <ul class="previews">
              {versionsOf(deploys, history.gone).map((deploy) => (
                <Version key={deploy.version} deploy={deploy} url={previewOf(status.data, deploy.version)} leads={leads} />
              ))}
            </ul>
          )}
        </Listed>
      </section>
    </AppFrame>
  );
}
