// What is around each page: the bar with the way home, the places of an app, and notices.
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { AppInfo, Status } from "../api.ts";
import { call, path, placePath } from "../client.ts";
import { logOut } from "../dialogs/session.tsx";
import { visible } from "../outside_text.ts";
import { route, setQuery, to } from "../router.ts";
import { notice, type Resource, rights, session, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { Button, Outside } from "./basics.tsx";
import { Dialogs } from "./dialog.tsx";

function NavLink({ page, params, query, children }: { page: string; params?: Record<string, string>; query?: Record<string, string | null>; children: ComponentChildren }) {
  const isCurrent = route.value.page === page || (page === "apps" && route.value.params["app"] !== undefined);
  return (
    <a href={to(page, params, query)} aria-current={isCurrent ? "page" : undefined}>
      {children}
    </a>
  );
}

export function Shell({ children }: { children: ComponentChildren }) {
  const who = session.value?.account ?? session.value?.token ?? "";
  return (
    <>
      <a class="skip" href="#main">
        {t.skip}
      </a>
      <header class="bar">
        <a class="brand" href={to("apps")} aria-label={`Devanture: ${t.nav.apps}`}>
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M1 2h14v4.5a2 2 0 0 1-3.5 1.3 2 2 0 0 1-3.5 0 2 2 0 0 1-3.5 0A2 2 0 0 1 1 6.5z" />
            <path class="line" d="M2.75 8.5v5.75h10.5V8.5" />
          </svg>
          <span>Devanture</span>
        </a>
        <nav aria-label={t.nav.title}>
          <NavLink page="apps">{t.nav.apps}</NavLink>
          {rights.value.can("seeNodes") && <NavLink page="nodes">{t.nav.nodes}</NavLink>}
          {rights.value.can("seeAudit") && <NavLink page="audit">{t.nav.audit}</NavLink>}
          {rights.value.can("makeEdgeTokens") && <NavLink page="tokens">{t.nav.tokens}</NavLink>}
          <NavLink page="account">{t.nav.account}</NavLink>
        </nav>
        <div class="who">
          <span class="name">
            <Outside text={who} />
          </span>
          <Button look="quiet" onClick={() => void logOut()}>
            {t.logOut}
          </Button>
        </div>
      </header>
      <main id="main">{children}</main>
      <div class="notice" role="status" aria-live="polite">
        {notice.value && <span key={notice.value.number}>{notice.value.text}</span>}
      </div>
      <Dialogs />
    </>
  );
}

export function useTitle(...titles: string[]): void {
  const title = visible([...titles, "Devanture"].join(" · "));
  useEffect(() => {
    document.title = title;
  }, [title]);
}

const TABS: [page: string, label: string][] = [
  ["app", t.tabs.app],
  ["deploys", t.tabs.deploys],
  ["compare", t.tabs.compare],
  ["previews", t.tabs.previews],
  ["traffic", t.tabs.traffic],
  ["requests", t.tabs.requests],
  ["hostnames", t.tabs.hostnames],
  ["settings", t.tabs.settings],
  ["backend", t.tabs.backend],
  ["protection", t.tabs.protection],
  ["signing", t.tabs.signing],
  ["pins", t.tabs.pins],
  ["integrity", t.tabs.integrity],
  ["webhooks", t.tabs.webhooks],
  ["apptokens", t.tabs.tokens],
  ["upkeep", t.tabs.upkeep],
];

/** The environments of an app that a person may see, `prod` first. */
export function environmentsOf(info: AppInfo | null): string[] {
  const names = info?.environments.map((environment) => environment.name) ?? [];
  return names.sort((a, b) => (a === "prod" ? -1 : b === "prod" ? 1 : a < b ? -1 : 1));
}

/** An app as an entry of the list, which has some of its environments; the status of one names the others. */
async function loadApp(app: string, signal: AbortSignal): Promise<AppInfo> {
  const info = await call<AppInfo>("GET", path`/v1/apps/${app}`, { signal });
  const first = info.environments[0];
  if (!first || info.environments.length >= info.environments_total) return info;
  const status = await call<Status>("GET", path`/v1/apps/${app}/environments/${first.name}`, { signal });
  const known = new Set(info.environments.map(({ name }) => name));
  const others = status.places.filter((place) => !place.alias && !known.has(place.name));
  // Whether these have a backend is not known: it is asked for.
  return { ...info, environments: [...info.environments, ...others.map((place) => ({ ...place, hostnames: 0, backend: true }))] };
}

/** The app of the address. */
export function useApp(app: string): Resource<AppInfo> {
  return useResource<AppInfo>(`app ${app}`, (signal) => loadApp(app, signal), 10_000);
}

export function useStatus(app: string, env: string | null, every = 10_000): Resource<Status> {
  return useResource<Status>(
    env === null ? null : `status ${app} ${env}`,
    (signal) => call("GET", placePath(app, env ?? ""), { signal }),
    every,
  );
}

/** The environment that the address names, else `prod`, else the first. */
export function chosenEnvironment(info: AppInfo | null): string | null {
  const names = environmentsOf(info);
  const named = route.value.query.get("env");
  if (named) return named;
  return names[0] ?? (info ? "prod" : null);
}

interface AppFrameProps {
  app: string;
  info: AppInfo | null;
  /** Whether the page is about one environment, which is then chosen above it. */
  env?: string | null;
  /** What can be chosen beside the environments. */
  others?: string[];
  children: ComponentChildren;
}

export function AppFrame({ app, info, env, others = [], children }: AppFrameProps) {
  const current = route.value.page;
  const keep = route.value.query.get("env");
  const bar = useRef<HTMLElement>(null);
  useEffect(() => {
    // On a phone the bar is wider than the window.
    bar.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  }, [current]);
  const may = rights.value;
  const isOffered = (page: string) => (page === "apptokens" ? may.can("makeTokens", app) : page !== "webhooks" || may.can("seeWebhooks", app));
  const tabs = TABS.filter(([page]) => isOffered(page));
  return (
    <>
      <div class="heading app">
        <h1 tabIndex={-1}>
          <Outside text={app} />
        </h1>
        {env !== undefined && <EnvironmentChoice info={info} env={env} others={others} />}
      </div>
      <nav class="tabs" ref={bar} aria-label={t.tabs.title(visible(app))}>
        {tabs.map(([page, label]) => (
          <a key={page} href={to(page, { app }, { env: keep })} aria-current={current === page ? "page" : undefined}>
            {label}
          </a>
        ))}
      </nav>
      {children}
    </>
  );
}

function EnvironmentChoice({ info, env, others }: { info: AppInfo | null; env: string | null; others: string[] }) {
  const names = [...environmentsOf(info), ...others];
  if (env && !names.includes(env)) names.push(env);
  return (
    <label class="environment">
      <span>{t.environment}</span>
      <select value={env ?? ""} onChange={(event) => setQuery({ env: event.currentTarget.value })}>
        {names.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}
