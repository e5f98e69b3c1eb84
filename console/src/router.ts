// The pages by their addresses, all below /console/. What differs between people is in the address, nothing elsewhere.
import { signal } from "@preact/signals";

export const BASE = "/console";

export interface Route {
  page: string;
  params: Record<string, string>;
  query: URLSearchParams;
}

const PAGES: [page: string, pattern: string][] = [
  ["apps", "/"],
  ["nodes", "/nodes"],
  ["audit", "/audit"],
  ["tokens", "/tokens"],
  ["account", "/account"],
  ["app", "/apps/:app"],
  ["deploys", "/apps/:app/deploys"],
  ["compare", "/apps/:app/compare"],
  ["previews", "/apps/:app/previews"],
  ["traffic", "/apps/:app/traffic"],
  ["requests", "/apps/:app/requests"],
  ["hostnames", "/apps/:app/hostnames"],
  ["settings", "/apps/:app/settings"],
  ["backend", "/apps/:app/backend"],
  ["protection", "/apps/:app/protection"],
  ["signing", "/apps/:app/signing"],
  ["pins", "/apps/:app/pins"],
  ["integrity", "/apps/:app/integrity"],
  ["webhooks", "/apps/:app/webhooks"],
  ["apptokens", "/apps/:app/tokens"],
  ["upkeep", "/apps/:app/upkeep"],
];

function parameters(pattern: string, path: string): Record<string, string> | null {
  const expected = pattern.split("/");
  const found = path.split("/");
  if (expected.length !== found.length) return null;
  const params: Record<string, string> = {};
  for (const [index, part] of expected.entries()) {
    const text = found[index] ?? "";
    if (part.startsWith(":")) {
      if (!text) return null;
      try {
        params[part.slice(1)] = decodeURIComponent(text);
      } catch {
        return null;
      }
    } else if (part !== text) return null;
  }
  return params;
}

export function parse(pathname: string, search: string): Route {
  const within = pathname.startsWith(`${BASE}/`) || pathname === BASE ? pathname.slice(BASE.length) : "/missing";
  const path = within.length > 1 ? within.replace(/\/+$/, "") || "/" : "/";
  const query = new URLSearchParams(search);
  for (const [page, pattern] of PAGES) {
    const params = parameters(pattern, path);
    if (params) return { page, params, query };
  }
  return { page: "missing", params: {}, query };
}

/** The address of a page: `to("app", { app })`. Values that are empty are left out of the query. */
export function to(
  page: string,
  params: Record<string, string> = {},
  query: Record<string, string | null | undefined> = {},
): string {
  const pattern = PAGES.find(([name]) => name === page)?.[1] ?? "/";
  const path = pattern.replace(/:([a-z]+)/g, (_, name: string) => encodeURIComponent(params[name] ?? ""));
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value) search.set(name, value);
  const text = search.toString();
  return BASE + path + (text ? `?${text}` : "");
}

export const route = signal<Route>({ page: "apps", params: {}, query: new URLSearchParams() });

function read(): void {
  route.value = parse(location.pathname, location.search);
}

/** Goes to a page; with `replace` the one that is left is not come back to. */
export function go(address: string, replace = false): void {
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  const before = route.value;
  read();
  const isOther = before.page !== route.value.page || before.params["app"] !== route.value.params["app"];
  if (!replace && isOther) {
    scrollTo(0, 0);
    // Those who do not see the page hear which one it is.
    requestAnimationFrame(() => document.querySelector<HTMLElement>("main h1")?.focus({ preventScroll: true }));
  }
}

/** Changes parameters of the page that is shown. */
export function setQuery(changes: Record<string, string | null>, replace = true): void {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const text = query.toString();
  go(location.pathname + (text ? `?${text}` : ""), replace);
}

/** Links of the console change the page without loading it again. */
function followed(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) {
    return;
  }
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
  if (!link.pathname.startsWith(`${BASE}/`) || (link.hash && link.pathname === location.pathname)) return;
  event.preventDefault();
  go(link.pathname + link.search);
}

export function startRouter(): void {
  read();
  addEventListener("popstate", read);
  document.addEventListener("click", followed);
}
