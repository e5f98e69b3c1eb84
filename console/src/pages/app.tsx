// One app: its environments side by side.
import type { AppInfo, Deploy, History, InApp, InstanceList, Status } from "../api.ts";
import { refusedBy } from "../canary.ts";
import { call, placePath } from "../client.ts";
import { openLock, openPause, openResume, openUnlock } from "../dialogs/environment.tsx";
import { openPromote, openRollback } from "../dialogs/going_live.tsx";
import { brief, count, duration, firstLine, percent, shortId } from "../format.ts";
import { damageText, healthOf } from "../health.ts";
import { servingOf, useInstances } from "../instances.ts";
import { useProtection } from "../protection.ts";
import { to } from "../router.ts";
import { spark, totals } from "../series.ts";
import { type Resource, rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { LAST_MS, lastHour } from "../traffic.ts";
import { Away, By, Fact, Id, Mark, Opens, Outside, Pending, Stale, type Tone, When } from "../ui/basics.tsx";
import { CanaryPart, Refusal } from "../ui/canary.tsx";
import { AppFrame, environmentsOf, useApp, useTitle } from "../ui/frame.tsx";
import { Spark } from "../ui/spark.tsx";

/** How often it is looked at who may see an environment. */
const LOOK_MS = 10_000;
/** Deploys among which the one that is live is looked for. */
const RECENT = 20;

function Source({ deploy }: { deploy: Deploy | undefined }) {
  if (!deploy) return null;
  const { message, commit, branch, url } = deploy.source;
  return (
    <div class="source">
      {message && (
        <p class="message">
          <Outside text={firstLine(message)} />
        </p>
      )}
      <p class="faint">
        {commit && (
          <code>
            <Outside text={shortId(commit)} />
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
      {sums.p99 !== null && <span>{t.card.p99(duration(sums.p99))}</span>}
    </a>
  );
}

function Instances({ app, env, list }: { app: string; env: string; list: InstanceList | null }) {
  if (!list || list.instances.length === 0) return null;
  const serving = servingOf(list);
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

function Actions({ app, env, status, names }: { app: string; env: string; status: Status; names: string[] }) {
  const may = rights.value;
  const locked = Boolean(status.locked);
  const sources = may.sources(app, env, names);
  const refused = refusedBy(status.canary);
  if (!may.can("goLive", app, env)) return <p class="faint">{t.card.readOnly}</p>;
  return (
    <>
      <Refusal status={status} />
      <div class="actions">
        {status.version && (
          <Opens
            look="main"
            label={t.rollback.label}
            named={t.rollback.title(env)}
            refused={refused}
            open={() => openRollback({ app, env, maySettings: may.can("changeSettings", app, env) })}
          />
        )}
        {sources.length > 0 && <Opens label={t.promote.to(env)} refused={refused} open={() => openPromote({ app, env, sources })} />}
        <a class="button plain" href={to("deploys", { app }, { env })}>
          {t.switch.other}
        </a>
        {may.can("lock", app, env) && (
          <Opens label={locked ? t.unlock.label : t.lock.label} of={env} open={() => (locked ? openUnlock({ app, env }) : openLock({ app, env }))} />
        )}
        {(status.version || status.paused) && may.can("pause", app, env) && (
          <Opens
            label={status.paused ? t.resume.label : t.pause.label}
            of={env}
            open={() => (status.paused ? openResume({ app, env }) : openPause({ app, env }))}
          />
        )}
      </div>
    </>
  );
}

/** A pause or a lock. */
function Held({ by, who, at, words }: { by: string; who: string; at: number; words: string | undefined }) {
  return (
    <p>
      <Mark tone="warn">
        {by} <Outside text={who} />, <When at={at} />
      </Mark>
      {words && (
        <>
          {" "}
          <Outside text={words} />
        </>
      )}
    </p>
  );
}

interface FactsProps extends InApp {
  status: Status;
  /** Who may see it, where that is not everybody. */
  mode: string | undefined;
  settings: number | undefined;
  instances: InstanceList | null;
}

function Facts({ app, env, status, mode, settings, instances }: FactsProps) {
  return (
    <dl class="facts">
      {status.urls && (
        <Fact name={t.card.address}>
          <Away href={status.urls.live} />
        </Fact>
      )}
      {status.hostnames.length > 0 && (
        <Fact name={t.card.hostnames}>
          <a href={to("hostnames", { app }, { env })}>
            <Outside text={status.hostnames.slice(0, 3).join(", ")} />
            {status.hostnames.length > 3 && ` ${t.card.andMore(status.hostnames.length - 3)}`}
          </a>
        </Fact>
      )}
      <Fact name={t.card.settings}>
        <a href={to("settings", { app }, { env })}>{settings !== undefined ? t.card.revision(settings) : "—"}</a>
      </Fact>
      {mode && (
        <Fact name={t.card.visitors}>
          <a href={to("protection", { app })}>{t.card.modes[mode] ?? mode}</a>
        </Fact>
      )}
      {status.pinned && status.pinned.length > 0 && (
        <Fact name={t.card.held}>
          <a href={to("pins", { app })}>
            <Mark tone="busy">{t.card.heldOn(status.pinned.length)}</Mark>
          </a>
        </Fact>
      )}
      {status.signed && (
        <Fact name={t.card.signatures}>
          <a href={to("signing", { app }, { env })}>
            <Mark tone={status.signed.is_enough ? "good" : "warn"}>{t.card.signed(status.signed.signed_by.length, status.signed.signatures_min)}</Mark>
          </a>
        </Fact>
      )}
      <Instances app={app} env={env} list={instances} />
      <Nodes status={status} />
    </dl>
  );
}

/** The deploy that made live what is live, with the message and commit of its version. */
function useLive(app: string, env: string, status: Status | null): Resource<Deploy | null> {
  const version = status?.version ?? null;
  return useResource<Deploy | null>(version ? `live ${app} ${env} ${status?.deploy ?? version}` : null, async (signal) => {
    const where = placePath(app, env, "history");
    const history = await call<History>("GET", where, { query: { limit: RECENT }, signal });
    const wanted = status?.deploy;
    const own = history.deploys.find((deploy) => (wanted ? deploy.id === wanted : deploy.outcome === "live"));
    if (!own || own.source.message || own.source.commit) return own ?? null;
    // A switch back has no source of its own: that of the push which brought the version.
    const pushed = history.deploys.find((deploy) => deploy.kind === "push" && deploy.version === own.version);
    return { ...own, source: pushed?.source ?? own.source };
  });
}

interface CardProps extends InApp {
  info: AppInfo | null;
  names: string[];
  mode: string | undefined;
}

function Card({ app, env, info, names, mode }: CardProps) {
  const status = useResource<Status>(
    `card ${app} ${env}`,
    (signal) => call("GET", placePath(app, env), { query: { nodes: true }, signal }),
    5000,
  );
  const version = status.data?.version ?? null;
  const live = useLive(app, env, status.data);
  const settings = useResource<{ revision: number }>(`revision ${app} ${env} ${version ?? ""}`, (signal) =>
    call("GET", placePath(app, env, "settings"), { signal }),
  );
  const instances = useInstances(info, env, 10_000);
  const data = status.data;
  const [tone, word] = data ? healthOf(data) : (["idle", t.loading] as [Tone, string]);
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
              <By who={live.data?.who} />
            </span>
          </p>
          <Source deploy={live.data ?? undefined} />
          {data.paused && <Held by={t.card.pausedBy} who={data.paused.who} at={data.paused.since_ms} words={data.paused.message} />}
          {data.locked && <Held by={t.card.lockedBy} who={data.locked.who} at={data.locked.since_ms} words={data.locked.reason} />}
          {data.damaged && (
            <p>
              <Mark tone="bad">{damageText(data.damaged)}</Mark>
            </p>
          )}
          <CanaryPart app={app} env={env} status={data} />
          <LastHour app={app} env={env} />
          <Facts app={app} env={env} status={data} mode={mode} settings={settings.data?.revision} instances={instances.data} />
          <Actions app={app} env={env} status={data} names={names} />
        </>
      )}
    </section>
  );
}

/** Who may see the environments that not everybody may see. */
function useModes(app: string): Map<string, string> {
  const list = useProtection(app, LOOK_MS).data?.protections ?? [];
  return new Map(list.filter(({ mode }) => mode !== "public").map(({ environment, mode }) => [environment, mode]));
}

export function AppPage({ app }: { app: string }) {
  useTitle(app);
  const info = useApp(app);
  const names = environmentsOf(info.data);
  const modes = useModes(app);
  return (
    <AppFrame app={app} info={info.data}>
      <Pending of={info} />
      <Stale of={info} />
      <div class="cards">
        {names.map((env) => (
          <Card key={env} app={app} env={env} info={info.data} names={names} mode={modes.get(env)} />
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
          {t.card.created} <When at={info.created_ms} />
          <By who={info.created_by} />
        </>
      )}
    </p>
  );
}
