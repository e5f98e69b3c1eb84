// Who may see the previews of an app and its environments, and the links that open one of them.
import type { Protection, ShareLink } from "../api_more.ts";
import { call, path } from "../client.ts";
import { openProtect, openRevokeLink, openShareLink } from "../dialogs/protection.tsx";
import { shortId } from "../format.ts";
import { visible } from "../outside_text.ts";
import { PREVIEWS, protectionOf, targetOf, toneOfMode, useProtection } from "../protection.ts";
import { rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { m } from "../texts_more.ts";
import { By, Empty, Id, Mark, Opens, Outside, Pending, When } from "../ui/basics.tsx";
import { AppFrame, environmentsOf, useApp, useTitle } from "../ui/frame.tsx";
import { type Column, Loaded, Table } from "../ui/table.tsx";

function Mode({ of }: { of: Protection }) {
  return (
    <>
      <Mark tone={toneOfMode(of.mode)}>{m.protection.modes[of.mode] ?? of.mode}</Mark>
      {of.is_default && <span class="faint"> {m.protection.isDefault}</span>}
    </>
  );
}

function Modes({ app, names }: { app: string; names: string[] }) {
  const list = useProtection(app);
  const columns: Column<Protection>[] = [
    {
      head: m.protection.what,
      isName: true,
      cell: ({ environment }) => (environment === PREVIEWS ? m.protection.previews : <Outside text={environment} />),
    },
    { head: m.protection.mode, cell: (one) => <Mode of={one} /> },
    {
      head: t.settings.changed,
      class: "faint",
      cell: (one) =>
        one.at_ms !== undefined && (
          <>
            <When at={one.at_ms} />
            <By who={one.who} />
          </>
        ),
    },
    {
      head: t.actions,
      cell: (one) =>
        rights.value.can("protect", app, one.environment) && (
          <Opens
            label={t.settings.change}
            of={one.environment === PREVIEWS ? m.protection.previews : one.environment}
            open={() => openProtect({ app, now: one })}
          />
        ),
    },
  ];
  return (
    <section aria-labelledby="modes">
      <h2 id="modes">{m.protection.title}</h2>
      <p class="faint about">{m.protection.about}</p>
      <Loaded of={list}>
        {({ protections }) => (
          <Table name={m.protection.title} columns={columns} rows={protectionOf(protections, names)} rowKey={(one) => one.environment} />
        )}
      </Loaded>
    </section>
  );
}

function Target({ link }: { link: ShareLink }) {
  const { alias, environment, version } = link.target;
  if (version) return <Id id={version} />;
  return (
    <>
      <Outside text={alias ?? environment ?? ""} /> <span class="faint">{alias ? m.links.anAlias : m.links.anEnvironment}</span>
    </>
  );
}

function named(link: ShareLink): string {
  const { alias, environment, version } = link.target;
  return version ? shortId(version) : (alias ?? environment ?? "");
}

function Links({ app, names }: { app: string; names: string[] }) {
  const list = useResource<{ shares: ShareLink[] }>(`shares ${app}`, (signal) => call("GET", path`/v1/apps/${app}/shares`, { signal }));
  const may = rights.value;
  const mayMake = [PREVIEWS, ...names].some((env) => may.can("shareLinks", app, env));
  const columns: Column<ShareLink>[] = [
    { head: m.links.opens, isName: true, cell: (link) => <Target link={link} /> },
    {
      head: m.links.host,
      cell: (link) => <Outside text={link.host} />,
    },
    { head: m.links.password, cell: (link) => (link.has_password ? m.links.asks : m.links.asksNot) },
    {
      head: t.token.createdAt,
      class: "faint",
      cell: (link) => (
        <>
          <When at={link.created_ms} />
          <By who={link.who} />
        </>
      ),
    },
    { head: t.token.endsAt, cell: (link) => <When at={link.expires_ms} /> },
    {
      head: t.actions,
      cell: (link) =>
        may.can("shareLinks", app, targetOf(link)) && (
          <Opens label={t.token.revoke} of={visible(named(link))} open={() => openRevokeLink({ app, link, name: named(link) })} />
        ),
    },
  ];
  return (
    <section aria-labelledby="links">
      <div class="toolbar">
        <h2 id="links">{m.links.title}</h2>
        {mayMake && <Opens look="main" label={m.links.make} open={() => openShareLink({ app, environments: names })} />}
      </div>
      <p class="faint about">{m.links.about}</p>
      <Loaded of={list}>
        {({ shares }) =>
          shares.length === 0 ? <Empty title={m.links.none} /> : <Table name={m.links.title} columns={columns} rows={shares} rowKey={(link) => link.id} />
        }
      </Loaded>
    </section>
  );
}

export function ProtectionPage({ app }: { app: string }) {
  useTitle(t.tabs.protection, app);
  const info = useApp(app);
  const names = environmentsOf(info.data);
  return (
    <AppFrame app={app} info={info.data}>
      <Pending of={info} />
      {info.data && (
        <>
          <Modes app={app} names={names} />
          <Links app={app} names={names} />
        </>
      )}
    </AppFrame>
  );
}
