// Previews: aliases and versions at hostnames of their own, and a frame to look at one without leaving.
import { useState } from "preact/hooks";
import type { Deploy, History, Place } from "../api.ts";
import { type AliasListing, versionsOf } from "../choices.ts";
import { call, path } from "../client.ts";
import { openEndAlias, openShare } from "../dialogs/previews.tsx";
import { openSwitch } from "../dialogs/going_live.tsx";
import { previewOf } from "../preview_address.ts";
import { safeLink, visible } from "../outside_text.ts";
import { rights, useListing } from "../state.ts";
import { t } from "../texts.ts";
import { Away, Button, Empty, Id, Outside, Pending, ProblemBox, When } from "../ui/basics.tsx";
import { AppFrame, chosenEnvironment, useApp, useStatus, useTitle } from "../ui/frame.tsx";

const RECENT = 30;
const WIDTHS: [name: keyof typeof t.previews.widths, pixels: number][] = [
  ["phone", 390],
  ["tablet", 820],
  ["wide", 1280],
];

/** What a preview is, wherever it comes from. */
interface Shown {
  name: string;
  version: string;
  url: string;
}

/**
 * A frame of the preview. It is of another origin, which it keeps, as modules and storage of a page need it; it can neither
 * leave the frame nor open a window. What would be of the console's own origin is not framed.
 */
function PreviewFrame({ shown, close }: { shown: Shown; close: () => void }) {
  const [width, setWidth] = useState<number>(1280);
  const address = foreign(safeLink(shown.url));
  return (
    <section class="preview-frame" aria-label={t.previews.frameOf(visible(shown.name))}>
      <header>
        <strong>
          <Outside text={shown.name} />
        </strong>
        <Away href={shown.url} />
        <span class="segments" role="group" aria-label={t.previews.width}>
          {WIDTHS.map(([name, pixels]) => (
            <Button key={name} look="quiet" aria-pressed={width === pixels} onClick={() => setWidth(pixels)}>
              {t.previews.widths[name]}
            </Button>
          ))}
        </span>
        <Button look="quiet" onClick={close}>
          {t.close}
        </Button>
      </header>
      <div class="frame-scroll" tabIndex={0} role="group" aria-label={t.previews.frameOf(visible(shown.name))}>
        {address && (
          <iframe
            src={address}
            title={t.previews.frameOf(visible(shown.name))}
            sandbox="allow-scripts allow-same-origin"
            referrerpolicy="no-referrer"
            style={{ width: `${width}px` }}
          />
        )}
      </div>
      <p class="faint">{t.previews.sandboxed}</p>
    </section>
  );
}

/** The address, if it is of another origin than the console: a frame of its own origin could leave the sandbox. */
function foreign(address: string | undefined): string | undefined {
  return address && new URL(address).origin !== location.origin ? address : undefined;
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
  const [gone, setGone] = useState<Set<string>>(new Set());
  const history = useListing<Deploy>(env ? `versions ${app} ${env}` : null, async (cursor, signal) => {
    const where = path`/v1/apps/${app}/environments/${env ?? ""}/history`;
    const page = await call<History>("GET", where, { query: { limit: RECENT, before: cursor }, signal });
    setGone((old) => new Set([...old, ...(page.deleted ?? []), ...(page.collected ?? [])]));
    return { items: page.deploys, next: page.next };
  });
  const may = rights.value;
  const versions = versionsOf(history.items, gone);
  const look = (one: Shown) => (
    <Button onClick={() => setShown(one)} aria-label={t.previews.showOf(visible(one.name))} aria-pressed={shown?.url === one.url}>
      {t.previews.show}
    </Button>
  );
  const goLive = (version: string) =>
    env && status.data && version !== status.data.version && may.may("push", app, env) ? (
      <Button onClick={() => openSwitch({ app, env, version, live: status.data?.version ?? null, locked: Boolean(status.data?.locked) })}>
        {t.switch.short(env)}…
      </Button>
    ) : null;
  return (
    <AppFrame app={app} info={info.data} env={env}>
      <Pending of={info} />
      {shown && <PreviewFrame key={shown.url} shown={shown} close={() => setShown(null)} />}
      <section aria-labelledby="aliases">
        <h2 id="aliases">{t.previews.aliases}</h2>
        {aliases.problem && <ProblemBox problem={aliases.problem} again={aliases.reload} />}
        {!aliases.loading && aliases.items.length === 0 && <p class="faint">{t.previews.noAliases}</p>}
        <ul class="previews">
          {aliases.items.map((place) => (
            <li key={place.name}>
              <p class="preview-name">
                <strong>
                  <Outside text={place.name} />
                </strong>{" "}
                <Id id={place.version} />
              </p>
              <p class="faint">
                <When at={place.since_ms} />
                {place.who && (
                  <>
                    {" "}
                    {t.by} <Outside text={place.who} />
                  </>
                )}
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
                {look(place)}
                {goLive(place.version)}
                {may.maySomewhere("push", app) && <Button onClick={() => openEndAlias(app, place)}>{t.previews.end}…</Button>}
              </div>
            </li>
          ))}
        </ul>
        {aliases.hasMore && <Button onClick={aliases.more}>{t.more}</Button>}
      </section>
      <section aria-labelledby="versions">
        <h2 id="versions">{t.previews.versions}</h2>
        {history.problem && <ProblemBox problem={history.problem} again={history.reload} />}
        {!history.loading && !history.problem && versions.length === 0 && <Empty title={t.deploys.none} />}
        <ul class="previews">
          {versions.map((deploy) => {
            const url = previewOf(status.data, deploy.version);
            return (
              <li key={deploy.version}>
                <p class="preview-name">
                  <Id id={deploy.version} /> {deploy.version === status.data?.version && <span class="tag">{t.deploys.current}</span>}
                  {deploy.outcome === "failed" && <span class="tag">{t.outcomes.failed}</span>}
                </p>
                <p class="message">{deploy.source.message && <Outside text={deploy.source.message.split("\n")[0] ?? ""} />}</p>
                <p class="faint">
                  <When at={deploy.at_ms} /> {t.by} <Outside text={deploy.who} />
                </p>
                <div class="actions">
                  {url && look({ name: deploy.version.slice(0, 12), version: deploy.version, url })}
                  {url && <Away href={url}>{t.previews.open}</Away>}
                  {url && may.maySomewhere("push", app) && (
                    <Button onClick={() => openShare({ app, version: deploy.version, url })}>{t.share.label}…</Button>
                  )}
                  {goLive(deploy.version)}
                </div>
              </li>
            );
          })}
        </ul>
        {history.hasMore && <Button onClick={history.more}>{t.more}</Button>}
      </section>
    </AppFrame>
  );
}
