// The edge itself: its nodes, and the audit log of who did what.
import type { AuditEntry, NodeStatus, Page } from "../api.ts";
import { call } from "../client.ts";
import { devanture } from "../command.ts";
import { ago, duration, exact } from "../format.ts";
import { route, setQuery, to } from "../router.ts";
import { now, rights, useListing, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { Button, CommandLine, Empty, Heading, Mark, Outside, Pending, ProblemBox, Stale, type Tone, When } from "../ui/basics.tsx";
import { useTitle } from "../ui/frame.tsx";

const TONES: Record<NodeStatus["state"], Tone> = { ready: "good", cut: "warn", unreachable: "bad" };

export function NodesPage() {
  useTitle(t.nav.nodes);
  const list = useResource<{ nodes: NodeStatus[] }>("nodes", (signal) => call("GET", "/v1/nodes", { signal }), 5000);
  return (
    <>
      <Heading>{t.nav.nodes}</Heading>
      <Pending of={list} />
      <Stale of={list} />
      {list.data && (
        <div class="scroll" tabIndex={0} role="group" aria-label={t.nav.nodes}>
          <table>
            <thead>
              <tr>
                <th scope="col">{t.nodes.name}</th>
                <th scope="col">{t.nodes.state}</th>
                <th scope="col">{t.nodes.release}</th>
                <th scope="col">{t.nodes.started}</th>
                <th scope="col" class="figure">{t.nodes.lag}</th>
                <th scope="col">{t.nodes.age}</th>
                <th scope="col">{t.nodes.certificate}</th>
                <th scope="col" class="figure">{t.nodes.versions}</th>
              </tr>
            </thead>
            <tbody>
              {list.data.nodes.map((node) => (
                <tr key={node.name}>
                  <th scope="row">
                    <Outside text={node.name} />
                    {node.advertise && (
                      <span class="faint">
                        {" "}
                        <Outside text={node.advertise} />
                      </span>
                    )}
                  </th>
                  <td>
                    <Mark tone={TONES[node.state] ?? "idle"}>{t.nodes.states[node.state] ?? node.state}</Mark>
                    {node.detail && (
                      <span class="faint">
                        {" "}
                        <Outside text={node.detail} />
                      </span>
                    )}
                  </td>
                  <td>
                    <Outside text={node.release} />
                  </td>
                  <td>
                    <When at={node.started_ms} />
                  </td>
                  <td class="figure">{node.lag ?? "—"}</td>
                  <td>{node.catalog_age_ms === null || node.catalog_age_ms === undefined ? "—" : duration(node.catalog_age_ms)}</td>
                  <td>{node.certificate_ends_s ? ago(node.certificate_ends_s * 1000, now.value) : "—"}</td>
                  <td class="figure">
                    {node.versions.filter((one) => one.version === one.wanted).length} / {node.versions.length}
                    {node.has_more && "+"}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <p class="caption">{t.sameByCommand}</p>
      <CommandLine text={devanture("nodes")} />
    </>
  );
}

export function AuditPage() {
  useTitle(t.nav.audit);
  const app = route.value.query.get("app");
  const list = useListing<AuditEntry>(`audit ${app ?? ""}`, async (cursor, signal) => {
    const page = await call<Page<"entries", AuditEntry>>("GET", "/v1/audit", { query: { app, limit: 100, before: cursor }, signal });
    return { items: page.entries, next: page.next };
  });
  if (!rights.value.mayAll("admin") && !app) {
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
      {list.problem && <ProblemBox problem={list.problem} again={list.reload} />}
      {!list.loading && list.items.length === 0 && !list.problem && <Empty title={t.audit.none} />}
      {list.items.length > 0 && (
        <div class="scroll" tabIndex={0} role="group" aria-label={t.nav.audit}>
          <table class="audit">
            <thead>
              <tr>
                <th scope="col">{t.audit.at}</th>
                <th scope="col">{t.audit.who}</th>
                <th scope="col">{t.audit.action}</th>
                <th scope="col">{t.audit.where}</th>
                <th scope="col">{t.audit.what}</th>
                <th scope="col">{t.audit.from}</th>
              </tr>
            </thead>
            <tbody>
              {list.items.map((entry) => (
                <tr key={entry.number}>
                  <td class="moment">{exact(entry.at_ms)}</td>
                  <th scope="row">
                    <Outside text={entry.who} /> <span class="faint">{t.audit.by[entry.by as keyof typeof t.audit.by] ?? entry.by}</span>
                  </th>
                  <td>
                    <Outside text={entry.action.replaceAll("_", " ")} />
                  </td>
                  <td>
                    {entry.app ? (
                      <a href={to("app", { app: entry.app })}>
                        <Outside text={entry.app} />
                      </a>
                    ) : (
                      "—"
                    )}
                    {entry.environment && (
                      <>
                        {" / "}
                        <Outside text={entry.environment} />
                      </>
                    )}
                  </td>
                  <td class="value">{entry.what ? <Outside text={entry.what} /> : ""}</td>
                  <td>
                    <Outside text={entry.node ? `${entry.from} · ${entry.node}` : entry.from} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {list.loading && <p class="pending">{t.loading}</p>}
      {list.hasMore && !list.loading && <Button onClick={list.more}>{t.more}</Button>}
    </>
  );
}
