// Tokens of an app, and those of the whole edge: with their last use, made once, revoked at once.
import type { Page, TokenInfo } from "../api.ts";
import { call } from "../client.ts";
import { openMakeToken, openRevokeToken } from "../dialogs/tokens.tsx";
import { rights, session, useListing } from "../state.ts";
import { t } from "../texts.ts";
import { Beside, By, Empty, Heading, Opens, Outside, Pending, Tag, When, Where } from "../ui/basics.tsx";
import { AppFrame, environmentsOf, useApp, useTitle } from "../ui/frame.tsx";
import { type Column, Listed, Table } from "../ui/table.tsx";

const COLUMNS: Column<TokenInfo>[] = [
  {
    head: t.token.name,
    isName: true,
    cell: (token) => (
      <>
        <Outside text={token.name} />
        {session.value?.account === null && session.value.token === token.name && <Tag>{t.token.own}</Tag>}
      </>
    ),
  },
  { head: t.token.scope, cell: (token) => t.token.scopes[token.scope] },
  { head: t.token.where, cell: (token) => <Where app={token.app} environment={token.environment} /> },
  {
    head: t.token.createdAt,
    cell: (token) => (
      <>
        <When at={token.created_ms} />
        <span class="faint">
          <By who={token.made_by} />
        </span>
      </>
    ),
  },
  { head: t.token.endsAt, cell: (token) => (token.expires_ms === null ? t.token.never : <When at={token.expires_ms} />) },
  {
    head: t.token.used,
    cell: (token) => (
      <>
        {token.last_used_ms === null ? t.token.never : <When at={token.last_used_ms} />}
        <Beside text={token.last_used_from} />
      </>
    ),
  },
  { head: t.actions, cell: (token) => <Opens label={t.token.revoke} of={token.name} open={() => openRevokeToken(token)} /> },
];

function List({ app }: { app: string | null }) {
  const list = useListing<TokenInfo>(`tokens ${app ?? ""}`, async (cursor, signal) => {
    const page = await call<Page<"tokens", TokenInfo>>("GET", "/v1/tokens", { query: { app, limit: 100, after: cursor }, signal });
    return { items: page.tokens, next: page.next };
  });
  return (
    <Listed of={list} none={t.token.none}>
      {(items) => <Table name={t.nav.tokens} columns={COLUMNS} rows={items} rowKey={(token) => token.id} />}
    </Listed>
  );
}

export function AppTokensPage({ app }: { app: string }) {
  useTitle(t.tabs.tokens, app);
  const info = useApp(app);
  return (
    <AppFrame app={app} info={info.data}>
      <Pending of={info} />
      {rights.value.can("makeTokens", app) ? (
        <>
          <div class="toolbar">
            <p class="faint">{t.token.aboutApp}</p>
            <Opens look="main" label={t.token.make} open={() => openMakeToken({ app, environments: environmentsOf(info.data) })} />
          </div>
          <List app={app} />
        </>
      ) : (
        <Empty title={t.forbidden} />
      )}
    </AppFrame>
  );
}

export function TokensPage() {
  useTitle(t.nav.tokens);
  const may = rights.value.can("makeEdgeTokens");
  return (
    <>
      <Heading
        aside={may && <Opens look="main" label={t.token.make} open={() => openMakeToken({ app: null, environments: [] })} />}
      >
        {t.nav.tokens}
      </Heading>
      <p class="faint about">{t.token.about}</p>
      {may ? <List app={null} /> : <Empty title={t.forbidden} />}
    </>
  );
}
