// Deploys of an environment: those under way, followed as they happen, and the history without an end.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Deploy, RecentDeploy, Status } from "../api.ts";
import { refusedBy } from "../canary.ts";
import { call, path, placePath } from "../client.ts";
import { openDeleteVersion } from "../dialogs/environment.tsx";
import { openRollback, openSwitch } from "../dialogs/going_live.tsx";
import { previewOf } from "../preview_address.ts";
import { openShare } from "../dialogs/previews.tsx";
import { begun, after, failedLately, isUnderWay, logBeside, problemOf, stepsBeside, type Followed } from "../deploy_following.ts";
import { exact, firstLine, shortId } from "../format.ts";
import { toneOf } from "../health.ts";
import { useHistory } from "../history.ts";
import { to } from "../router.ts";
import { changed, now, rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { Away, Fact, Id, Lines, Mark, Opens, Outside, Pending, ProblemBox, Tag, Unanswered, When } from "../ui/basics.tsx";
import { BeginsCanary, Refusal } from "../ui/canary.tsx";
import { AppFrame, chosenEnvironment, useApp, useStatus, useTitle } from "../ui/frame.tsx";
import { Steps } from "../ui/steps.tsx";
import { Listed } from "../ui/table.tsx";

/** Deploys of a page of the history. */
const PAGE = 30;

function Outcome({ outcome }: { outcome: string }) {
  return <Mark tone={toneOf("deploy", outcome)}>{t.outcomes[outcome as keyof typeof t.outcomes] ?? outcome}</Mark>;
}

/** Follows a deploy for as long as it is under way. */
function useFollowed(app: string, deploy: RecentDeploy): Followed {
  const [followed, setFollowed] = useState(() => begun(deploy));
  const isOver = !isUnderWay(deploy.state);
  useEffect(() => {
    if (isOver) {
      setFollowed((old) => ({ ...begun(deploy), problem: old.problem ?? problemOf(deploy.error) }));
      return;
    }
    const events = new EventSource(path`/v1/apps/${app}/deploys/${deploy.deploy}`);
    const take = (event: Event) => {
      if (!(event instanceof MessageEvent)) return;
      const data: unknown = JSON.parse(String(event.data));
      setFollowed((old) => after(old, event.type, data));
      if (event.type !== "step") {
        events.close();
        changed();
      }
    };
    for (const name of ["step", "done", "switched", "problem"]) events.addEventListener(name, take);
    return () => events.close();
  }, [app, deploy.deploy, isOver]);
  // The list may know more than a stream that broke off.
  const listed = begun(deploy);
  return followed.ended || followed.steps.length >= listed.steps.length ? followed : { ...followed, steps: listed.steps };
}

function Recent({ app, deploy }: { app: string; deploy: RecentDeploy }) {
  const followed = useFollowed(app, deploy);
  const words = deploy.reason ?? firstLine(deploy.message);
  return (
    <article class={`recent ${toneOf("deploy", followed.state)}`} aria-label={t.deploys.deploy(deploy.deploy)}>
      <header>
        <Outcome outcome={followed.state} />
        {deploy.kind && <span>{t.kinds[deploy.kind as keyof typeof t.kinds] ?? deploy.kind}</span>}
        <span class="message">{words && <Outside text={words} />}</span>
        <span class="faint">
          <Outside text={deploy.who} /> · <When at={deploy.started_ms} />
          {deploy.commit && (
            <>
              {" · "}
              <code>
                <Outside text={shortId(deploy.commit)} />
              </code>
            </>
          )}
        </span>
      </header>
      {followed.steps.length > 0 && <Steps steps={stepsBeside(followed.steps, followed.problem?.detail)} />}
      {followed.problem && <ProblemBox problem={followed.problem} />}
      {followed.state === "failed" && <p>{t.deploys.stillRunning}</p>}
    </article>
  );
}

function UnderWay({ app, env }: { app: string; env: string }) {
  const where = placePath(app, env, "deploys");
  const list = useResource<{ deploys: RecentDeploy[]; missing?: string[] }>(
    `recent ${app} ${env}`,
    (signal) => call("GET", where, { query: { limit: 10 }, signal }),
    2000,
  );
  const deploys = list.data?.deploys ?? [];
  const underWay = deploys.filter((deploy) => isUnderWay(deploy.state));
  const failed = failedLately(deploys, now.value);
  const running = underWay.length;
  const before = useRef(running);
  useEffect(() => {
    // One has ended: the history has it now.
    if (before.current > running) changed();
    before.current = running;
  }, [running]);
  const shown = (some: RecentDeploy[]) => some.map((deploy) => <Recent key={deploy.deploy} app={app} deploy={deploy} />);
  return (
    <>
      <section aria-labelledby="under-way">
        <h2 id="under-way">{t.deploys.underWay}</h2>
        {list.problem && !list.data && <ProblemBox problem={list.problem} again={list.reload} />}
        <Unanswered nodes={list.data?.missing} text={t.deploys.missing} />
        {list.data && running === 0 && <p class="faint">{t.deploys.noneUnderWay}</p>}
        <div aria-live="polite">{shown(underWay)}</div>
      </section>
      <section aria-labelledby="failed-lately" hidden={failed.length === 0}>
        <h2 id="failed-lately">{t.deploys.failedLately}</h2>
        <div aria-live="polite">{shown(failed)}</div>
      </section>
    </>
  );
}

function Actions({ app, env, deploy, status, gone }: { app: string; env: string; deploy: Deploy; status: Status | null; gone: boolean }) {
  const live = status?.version ?? null;
  const may = rights.value;
  const preview = previewOf(status, deploy.version);
  const short = shortId(deploy.version);
  const isLive = deploy.version === live;
  const mayGo = !isLive && !gone && status !== null && may.can("goLive", app, env);
  return (
    <div class="actions">
      {mayGo && <Refusal status={status} />}
      {mayGo && (
        <Opens
          look="main"
          label={deploy.outcome === "live" ? t.rollback.to(short) : t.switch.to(short)}
          refused={refusedBy(status.canary)}
          open={() =>
            deploy.outcome === "live"
              ? openRollback({ app, env, version: deploy.version, maySettings: may.can("changeSettings", app, env) })
              : openSwitch({ app, env, version: deploy.version })
          }
        />
      )}
      {mayGo && <BeginsCanary app={app} env={env} version={deploy.version} status={status} />}
      {!isLive && live && !gone && (
        <a class="button plain" href={to("compare", { app }, { env, from: env, to: deploy.version })}>
          {t.compare.withLive}
        </a>
      )}
      {preview && !gone && <Away href={preview}>{t.previews.preview}</Away>}
      {preview && !gone && may.can("share", app) && (
        <Opens label={t.share.label} of={short} open={() => openShare({ app, version: deploy.version, url: preview })} />
      )}
      {!isLive && !gone && may.can("deleteVersion", app) && (
        <Opens label={t.delete.label} of={short} open={() => openDeleteVersion(app, deploy.version)} />
      )}
    </div>
  );
}

function Facts({ deploy }: { deploy: Deploy }) {
  const source = deploy.source;
  return (
    <dl class="facts">
      <Fact name={t.deploys.at}>{exact(deploy.at_ms)}</Fact>
      <Fact name={t.deploys.before}>
        <Id id={deploy.previous} />
      </Fact>
      {deploy.reason && (
        <Fact name={t.reason}>
          <Outside text={deploy.reason} />
        </Fact>
      )}
      {source.message && (
        <Fact name={t.deploys.message}>
          <Outside text={source.message} lines />
        </Fact>
      )}
      {source.commit && (
        <Fact name={t.deploys.commit}>
          <code>
            <Outside text={source.commit} />
          </code>
          {source.dirty && ` ${t.deploys.dirty}`}
        </Fact>
      )}
      {source.branch && (
        <Fact name={t.deploys.branch}>
          <Outside text={source.branch} />
        </Fact>
      )}
      {source.url && (
        <Fact name={source.ci ?? t.run}>
          <Away href={source.url} />
        </Fact>
      )}
      {deploy.settings !== undefined && (
        <Fact name={t.card.settings}>{t.card.revision(deploy.settings)}</Fact>
      )}
      <Fact name={t.deploys.id}>
        <code>
          <Outside text={deploy.id} />
        </code>
      </Fact>
    </dl>
  );
}

function Entry({ app, env, deploy, status, gone }: { app: string; env: string; deploy: Deploy; status: Status | null; gone: boolean }) {
  const [open, setOpen] = useState(false);
  const source = deploy.source;
  const log = logBeside(deploy.log ?? [], deploy.problem?.detail);
  const isCurrent = status?.deploy === deploy.id;
  const words = deploy.reason ?? firstLine(source.message);
  return (
    <li class={isCurrent ? "entry current" : "entry"}>
      <details onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>
          <span class="entry-kind">
            <Outcome outcome={deploy.outcome} />
          </span>
          <span class="entry-what">
            <strong>{t.kinds[deploy.kind as keyof typeof t.kinds] ?? deploy.kind}</strong> <Id id={deploy.version} />
            {isCurrent && <Tag>{t.deploys.current}</Tag>}
            {gone && <Tag>{t.deploys.gone}</Tag>}
          </span>
          <span class="entry-words">{words && <Outside text={words} />}</span>
          <span class="entry-who faint">
            <Outside text={deploy.who} />
          </span>
          <span class="entry-when faint">
            <When at={deploy.at_ms} />
          </span>
        </summary>
        {open && (
          <div class="entry-body">
            <Facts deploy={deploy} />
            {deploy.problem && (
              <ProblemBox problem={{ title: deploy.problem.detail, status: 0, code: deploy.problem.code, detail: deploy.problem.detail }} />
            )}
            {deploy.steps.length > 0 && <Steps steps={stepsBeside(deploy.steps, deploy.problem?.detail)} />}
            {log.length > 0 && <Lines lines={log} />}
            <Actions app={app} env={env} deploy={deploy} status={status} gone={gone} />
          </div>
        )}
      </details>
    </li>
  );
}

function Past({ app, env, status }: { app: string; env: string; status: Status | null }) {
  const list = useHistory(app, env, PAGE);
  const end = useRef<HTMLDivElement>(null);
  const live = status?.deploy ?? null;
  const before = useRef(live);
  useEffect(() => {
    // Something went live, from wherever: it is in the history now.
    if (before.current !== null && live !== before.current) list.reload();
    before.current = live;
  }, [live]);
  useEffect(() => {
    const element = end.current;
    if (!element || !list.hasMore || list.loading) return;
    const watch = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) list.more();
    });
    watch.observe(element);
    return () => watch.disconnect();
  }, [list.hasMore, list.loading, list.items.length]);
  return (
    <section aria-labelledby="history">
      <h2 id="history">{t.deploys.history}</h2>
      <Listed of={list} none={t.deploys.none}>
        {(deploys) => (
          <>
            <ol class="history">
              {deploys.map((deploy) => (
                <Entry key={deploy.id} app={app} env={env} deploy={deploy} status={status} gone={list.gone.has(deploy.version)} />
              ))}
            </ol>
            <div ref={end} />
          </>
        )}
      </Listed>
    </section>
  );
}

export function DeploysPage({ app }: { app: string }) {
  useTitle(t.tabs.deploys, app);
  const info = useApp(app);
  const env = chosenEnvironment(info.data);
  const status = useStatus(app, env, 5000);
  return (
    <AppFrame app={app} info={info.data} env={env}>
      <Pending of={info} />
      {env && <UnderWay key={`${env} way`} app={app} env={env} />}
      {env && <Past key={`${env} past`} app={app} env={env} status={status.data} />}
    </AppFrame>
  );
}
