// One app: its environments side by side.
import type { AppInfo, Deploy, History, InstanceList, Status } from "../api.ts";
import { call, path } from "../client.ts";
import { openLock, openPause, openResume, openUnlock } from "../dialogs/environment.tsx";
import { openPromote, openRollback } from "../dialogs/going_live.tsx";
import { brief, count, duration, percent } from "../format.ts";
import { loadInstances } from "../instances.ts";
import { to } from "../router.ts";
import { spark, totals } from "../series.ts";
import { rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { LAST_MS, lastHour } from "../traffic.ts";
import { Away, Button, Fact, Id, Mark, Outside, Pending, Stale, type Tone, When } from "../ui/basics.tsx";
import { AppFrame, environmentsOf, useApp, useTitle } from "../ui/frame.tsx";
import { Spark } from "../ui/spark.tsx";

/** Deploys among which the one that is live is looked for. */
const RECENT = 20;

function stateOf(status: Status): [Tone, string] {
  if (status.damaged) return ["bad", t.health.damaged];
  if (!status.version) return ["idle", t.health.nothing];
  if (status.paused) return ["warn", t.health.paused];
  return ["good", t.health.live];
}

function Source({ deploy }: { deploy: Deploy | undefined }) {
  if (!deploy) return null;
  const { message, commit, branch, url } = deploy.source;
  return (
    <div class="source">
      {message && (
        <p class="message">
          <Outside text={message.split("\n")[0] ?? ""} />
        </p>
      )}
      <p class="faint">
        {commit && (
          <code>
            <Outside text={commit.slice(0, 12)} />
          </code>
        )}
        {branch && (
          <>
            {" "}
            <Outside text={branch} />
          </>
        )}
        {url && (
          <>
            {" "}
            <Away href={url}>{t.run}</Away>
          </>
        )}
      </p>
      {deploy.reason && (
        <p>
          <span class="faint">{t.why}</span> <Outside text={deploy.reason} />
        </p>
      )}
    </div>
  );
}

function LastHour({ app, env }: { app: string; env: string }) {
  const traffic = lastHour(app, env).value;
  if (!traffic) return null;
  const sums = totals(traffic);
  return (
    <a class="last-hour" href={to("traffic", { app }, { env })}>
      <span class="sr">{t.card.traffic(env)}</span>
      <Spark values={spark(traffic, LAST_MS, 30)} />
      <span>
        {brief(sums.requests)} {t.card.requests}
      </span>
      <span>{sums.errors > 0 ? <Mark tone="bad">{t.card.errors(count(sums.errors), percent(sums.errors, sums.requests))}</Mark> : t.card.noErrors}</span>
      {sums.p99 !== null && <span>p99 {duration(sums.p99)}</span>}
    </a>
  );
}

function Instances({ app, env, list }: { app: string; env: string; list: InstanceList | null }) {
  if (!list || list.instances.length === 0) return null;
  const serving = list.instances.filter((one) => one.state !== "warm" && one.state !== "stopping");
  const healthy = serving.filter((one) => one.state === "healthy").length;
  const tone: Tone = healthy === serving.length ? "good" : healthy === 0 ? "bad" : "warn";
  return (
    <Fact name={t.card.instances}>
      <a href={to("backend", { app }, { env })}>
        <Mark tone={tone}>{t.card.healthy(healthy, serving.length)}</Mark>
      </a>
    </Fact>
  );
}

function Nodes({ status }: { status: Status }) {
  const nodes = status.nodes ?? [];
  if (nodes.length < 2) return null;
  const ready = nodes.filter((node) => node.state === "ready").length;
  return (
    <Fact name={t.card.nodes}>
      <Mark tone={ready === nodes.length ? "good" : "warn"}>{t.card.ready(ready, nodes.length)}</Mark>
    </Fact>
  );
}

function Actions({ app, env, status, others }: { app: string; env: string; status: Status; others: string[] }) {
  const may = rights.value;
  const locked = Boolean(status.locked);
  const sources = others.filter((name) => may.may("read", app, name) || may.may("promote", app, env));
  if (!may.may("push", app, env)) return <p class="faint">{t.card.readOnly}</p>;
  return (
    <div class="actions">
      {status.version && (
        <Button
          look="main"
          onClick={() => openRollback({ app, env, locked, maySettings: may.may("promote", app, env) })}
          aria-label={t.card.rollbackOf(env)}
        >
          {t.rollback.label}…
        </Button>
      )}
      {sources.length > 0 && may.may("promote", app, env) && (
        <Button onClick={() => openPromote({ app, env, sources, locked })}>{t.card.promoteTo(env)}</Button>
      )}
      <a class="button plain" href={to("deploys", { app }, { env })}>
        {t.switch.other}
      </a>
      <Button onClick={() => (locked ? openUnlock({ app, env }) : openLock({ app, env }))} aria-label={`${locked ? t.unlock.label : t.lock.label}: ${env}`}>
        {locked ? t.unlock.label : t.lock.label}…
      </Button>
      {(status.version || status.paused) && (
        <Button onClick={() => (status.paused ? openResume({ app, env }) : openPause({ app, env }))} aria-label={`${status.paused ? t.resume.label : t.pause.label}: ${env}`}>
          {status.paused ? t.resume.label : t.pause.label}…
        </Button>
      )}
    </div>
  );
}

function Card({ app, env, others }: { app: string; env: string; others: string[] }) {
  const status = useResource<Status>(
    `card ${app} ${env}`,
    (signal) => call("GET", path`/v1/apps/${app}/environments/${env}`, { query: { nodes: true }, signal }),
    5000,
  );
  const version = status.data?.version ?? null;
  const live = useResource<Deploy | null>(version ? `live ${app} ${env} ${status.data?.deploy ?? version}` : null, async (signal) => {
    const where = path`/v1/apps/${app}/environments/${env}/history`;
    const history = await call<History>("GET", where, { query: { limit: RECENT }, signal });
    const wanted = status.data?.deploy;
    const own = history.deploys.find((deploy) => (wanted ? deploy.id === wanted : deploy.outcome === "live"));
    if (!own || own.source.message || own.source.commit) return own ?? null;
    // A switch back has no source of its own: that of the push which brought the version.
    const pushed = history.deploys.find((deploy) => deploy.kind === "push" && deploy.version === own.version);
    return { ...own, source: pushed?.source ?? own.source };
  });
  const settings = useResource<{ revision: number }>(`revision ${app} ${env} ${version ?? ""}`, (signal) =>
    call("GET", path`/v1/apps/${app}/environments/${env}/settings`, { signal }),
  );
  const instances = useResource<InstanceList>(`instances ${app} ${env}`, (signal) => loadInstances(app, env, signal), 10_000);
  const data = status.data;
  const [tone, word] = data ? stateOf(data) : (["idle", t.loading] as [Tone, string]);
  return (
    <section class={`card ${tone}`} aria-labelledby={`env-${env}`}>
      <header>
        <h2 id={`env-${env}`}>
          <Outside text={env} />
        </h2>
        <Mark tone={tone}>{word}</Mark>
      </header>
      <Pending of={status} />
      <Stale of={status} />
      {data && (
        <>
          <p class="live">
            <Id id={data.version} />{" "}
            <span class="faint">
              <When at={data.since_ms} />
              {live.data && (
                <>
                  {" "}
                  {t.by} <Outside text={live.data.who} />
                </>
              )}
            </span>
          </p>
          <Source deploy={live.data ?? undefined} />
          {data.paused && (
            <p>
              <Mark tone="warn">
                {t.card.pausedBy} <Outside text={data.paused.who} />, <When at={data.paused.since_ms} />
              </Mark>
              {data.paused.message && (
                <>
                  {" "}
                  <Outside text={data.paused.message} />
                </>
              )}
            </p>
          )}
          {data.locked && (
            <p>
              <Mark tone="warn">
                {t.card.lockedBy} <Outside text={data.locked.who} />, <When at={data.locked.since_ms} />
              </Mark>
              {data.locked.reason && (
                <>
                  {" "}
                  <Outside text={data.locked.reason} />
                </>
              )}
            </p>
          )}
          {data.damaged && (
            <p>
              <Mark tone="bad">{t.card.damaged(data.damaged.count)}</Mark>
            </p>
          )}
          <LastHour app={app} env={env} />
          <dl class="facts">
            {data.urls && (
              <Fact name={t.card.address}>
                <Away href={data.urls.live} />
              </Fact>
            )}
            {data.hostnames.length > 0 && (
              <Fact name={t.card.hostnames}>
                <a href={to("hostnames", { app }, { env })}>
                  <Outside text={data.hostnames.slice(0, 3).join(", ")} />
                  {data.hostnames.length > 3 && ` ${t.card.andMore(data.hostnames.length - 3)}`}
                </a>
              </Fact>
            )}
            <Fact name={t.card.settings}>
              <a href={to("settings", { app }, { env })}>{settings.data ? t.card.revision(settings.data.revision) : "—"}</a>
            </Fact>
            <Instances app={app} env={env} list={instances.data} />
            <Nodes status={data} />
          </dl>
          <Actions app={app} env={env} status={data} others={others} />
        </>
      )}
    </section>
  );
}

export function AppPage({ app }: { app: string }) {
  useTitle(app);
  const info = useApp(app);
  const names = environmentsOf(info.data);
  return (
    <AppFrame app={app} info={info.data}>
      <Pending of={info} />
      <Stale of={info} />
      <div class="cards">
        {names.map((env) => (
          <Card key={env} app={app} env={env} others={names.filter((name) => name !== env)} />
        ))}
      </div>
      {info.data && <Previews app={app} info={info.data} />}
    </AppFrame>
  );
}

function Previews({ app, info }: { app: string; info: AppInfo }) {
  return (
    <p class="faint below">
      {info.versions !== undefined && t.card.versions(count(info.versions))}{" "}
      <a href={to("previews", { app })}>{t.tabs.previews}</a>
      {info.created_by && (
        <>
          {" · "}
          {t.card.created} <When at={info.created_ms} /> {t.by} <Outside text={info.created_by} />
        </>
      )}
    </p>
  );
}
