// The edge itself: its nodes, and the audit log of who did what.
import { useRef } from "preact/hooks";
import type { AuditEntry, NodeStatus, Page } from "../api.ts";
import { call } from "../client.ts";
import { devanture } from "../command.ts";
import { duration, exact } from "../format.ts";
import { toneOf } from "../health.ts";
import { route, setQuery, to } from "../router.ts";
import { rights, useListing, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { Beside, Button, Empty, Heading, Mark, Outside, SameByCommand, When, Where } from "../ui/basics.tsx";
import { useTitle } from "../ui/frame.tsx";
import { type Column, Listed, Loaded, Table } from "../ui/table.tsx";

/** A node as it is, or as it was when it was there last. */
type SeenNode = Omit<NodeStatus, "state"> & { state: NodeStatus["state"] | "gone" };

const NODE_COLUMNS: Column<SeenNode>[] = [
  {
    head: t.nodes.name,
    isName: true,
    cell: (node) => (
      <>
        <Outside text={node.name} />
        <Beside text={node.advertise} />
      </>
    ),
  },
  {
    head: t.nodes.state,
    cell: (node) => (
      <>
        <Mark tone={node.state === "gone" ? "bad" : toneOf("node", node.state)}>{t.nodes.states[node.state] ?? node.state}</Mark>
        <Beside text={node.detail} />
      </>
    ),
  },
  { head: t.nodes.release, cell: (node) => <Outside text={node.release} /> },
  { head: t.nodes.started, cell: (node) => <When at={node.started_ms} /> },
  { head: t.nodes.lag, isFigure: true, cell: (node) => node.lag },
  { head: t.nodes.age, cell: (node) => node.catalog_age_ms != null && duration(node.catalog_age_ms) },
  { head: t.nodes.certificate, cell: (node) => node.certificate_ends_s && <When at={node.certificate_ends_s * 1000} /> },
  {
    head: t.nodes.versions,
    isFigure: true,
    cell: (node) => {
      if (node.state === "gone") return null;
      // A node says what is to be live there where it serves something else.
      const ready = node.versions.filter((one) => !one.wanted).length;
      return `${ready} / ${node.versions.length}${node.has_more ? "+" : ""}`;
    },
  },
];

/** A cluster forgets a node whose lease has ended; whoever looks at the page still has to see that it is gone. */
function useSeen(nodes: NodeStatus[] | null): SeenNode[] {
  const seen = useRef(new Map<string, NodeStatus>());
  for (const node of nodes ?? []) seen.current.set(node.name, node);
  const names = new Set(nodes?.map(({ name }) => name));
  return [...seen.current.values()]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((node) => (names.has(node.name) ? node : { ...node, state: "gone", versions: [], lag: null, catalog_age_ms: null, detail: null }));
}

export function NodesPage() {
  useTitle(t.nav.nodes);
  const list = useResource<{ nodes: NodeStatus[] }>("nodes", (signal) => call("GET", "/v1/nodes", { signal }), 5000);
  const seen = useSeen(list.data?.nodes ?? null);
  return (
    <>
      <Heading>{t.nav.nodes}</Heading>
      <Loaded of={list}>
        {() => <Table name={t.nav.nodes} columns={NODE_COLUMNS} rows={seen} rowKey={(node) => node.name} />}
      </Loaded>
      <SameByCommand text={devanture("nodes")} />
    </>
  );
}

const AUDIT_COLUMNS: Column<AuditEntry>[] = [
  { head: t.audit.at, class: "moment", cell: (entry) => exact(entry.at_ms) },
  {
    head: t.audit.who,
    isName: true,
    cell: (entry) => (
      <>
        <Outside text={entry.who} />
        <Beside text={t.audit.by[entry.by as keyof typeof t.audit.by] ?? entry.by} />
      </>
    ),
  },
  { head: t.audit.action, cell: (entry) => <Outside text={entry.action.replaceAll("_", " ")} /> },
  {
    head: t.audit.where,
    cell: (entry) => entry.app && <Where app={entry.app} environment={entry.environment} link={to("app", { app: entry.app })} />,
  },
  { head: t.audit.what, class: "value", cell: (entry) => entry.what && <Outside text={entry.what} /> },
  { head: t.audit.from, cell: (entry) => <Outside text={entry.node ? `${entry.from} · ${entry.node}` : entry.from} /> },
];

export function AuditPage() {
  useTitle(t.nav.audit);
  const app = route.value.query.get("app");
  const list = useListing<AuditEntry>(`audit ${app ?? ""}`, async (cursor, signal) => {
    const page = await call<Page<"entries", AuditEntry>>("GET", "/v1/audit", { query: { app, limit: 100, before: cursor }, signal });
    return { items: page.entries, next: page.next };
  });
  if (!rights.value.can("seeAudit") && !app) {
    return (
      <>
        <Heading>{t.nav.audit}</Heading>
        <Empty title={t.forbidden} />
      </>
    );
  }
  return (
    <>
      <Heading
        aside={
          <form
            class="inline"
            onSubmit={(event) => {
              event.preventDefault();
              const field = new FormData(event.currentTarget).get("app");
              setQuery({ app: typeof field === "string" ? field.trim() || null : null });
            }}
          >
            <label>
              <span class="sr">{t.audit.app}</span>
              <input name="app" type="search" defaultValue={app ?? ""} placeholder={t.audit.app} maxLength={40} autocomplete="off" spellcheck={false} />
            </label>
            <Button type="submit">{t.requests.apply}</Button>
          </form>
        }
      >
        {t.nav.audit}
      </Heading>
      <Listed of={list} none={t.audit.none}>
        {(items) => <Table name={t.nav.audit} columns={AUDIT_COLUMNS} rows={items} rowKey={(entry) => entry.number} />}
      </Listed>
    </>
  );
}
