// Tokens of an app, and those of the whole edge: with their last use, made once, revoked at once.
import type { Page, TokenInfo } from "../api.ts";
import { call } from "../client.ts";
import { openMakeToken, openRevokeToken } from "../dialogs/tokens.tsx";
import { visible } from "../outside_text.ts";
import { rights, session, useListing } from "../state.ts";
import { t } from "../texts.ts";
import { Button, Empty, Heading, Outside, Pending, ProblemBox, When } from "../ui/basics.tsx";
import { AppFrame, environmentsOf, useApp, useTitle } from "../ui/frame.tsx";

function List({ app }: { app: string | null }) {
  const list = useListing<TokenInfo>(`tokens ${app ?? ""}`, async (cursor, signal) => {
    const page = await call<Page<"tokens", TokenInfo>>("GET", "/v1/tokens", { query: { app, limit: 100, after: cursor }, signal });
    return { items: page.tokens, next: page.next };
  });
  return (
    <>
      {list.problem && <ProblemBox problem={list.problem} again={list.reload} />}
      {list.loading && list.items.length === 0 && <p class="pending">{t.loading}</p>}
      {!list.loading && list.items.length === 0 && !list.problem && <Empty title={t.token.none} />}
      {list.items.length > 0 && (
        <div class="scroll" tabIndex={0} role="group" aria-label={t.nav.tokens}>
          <table>
            <thead>
              <tr>
                <th scope="col">{t.token.name}</th>
                <th scope="col">{t.token.scope}</th>
                <th scope="col">{t.token.where}</th>
                <th scope="col">{t.token.createdAt}</th>
                <th scope="col">{t.token.endsAt}</th>
                <th scope="col">{t.token.used}</th>
                <th scope="col">{t.actions}</th>
              </tr>
            </thead>
            <tbody>
              {list.items.map((token) => (
                <tr key={token.id}>
                  <th scope="row">
                    <Outside text={token.name} />
                    {session.value?.account === null && session.value.token === token.name && <span class="tag">{t.token.own}</span>}
                  </th>
                  <td>{t.token.scopes[token.scope]}</td>
                  <td>
                    {token.app ? <Outside text={token.app} /> : t.token.everyApp}
                    {token.environment && (
                      <>
                        {" / "}
                        <Outside text={token.environment} />
                      </>
                    )}
                  </td>
                  <td>
                    <When at={token.created_ms} />
                    {token.made_by && (
                      <span class="faint">
                        {" "}
                        {t.by} <Outside text={token.made_by} />
                      </span>
                    )}
                  </td>
                  <td>{token.expires_ms === null ? t.token.never : <When at={token.expires_ms} />}</td>
                  <td>
                    {token.last_used_ms === null ? t.token.never : <When at={token.last_used_ms} />}
                    {token.last_used_from && (
                      <span class="faint">
                        {" "}
                        <Outside text={token.last_used_from} />
                      </span>
                    )}
                  </td>
                  <td>
                    <Button onClick={() => openRevokeToken(token)} aria-label={`${t.token.revoke}: ${visible(token.name)}`}>
                      {t.token.revoke}…
                    </Button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {list.hasMore && <Button onClick={list.more}>{t.more}</Button>}
    </>
  );
}

export function AppTokensPage({ app }: { app: string }) {
  useTitle(t.tabs.tokens, app);
  const info = useApp(app);
  return (
    <AppFrame app={app} info={info.data}>
      <Pending of={info} />
      {rights.value.maySomewhere("admin", app) ? (
        <>
          <div class="toolbar">
            <Button look="main" onClick={() => openMakeToken({ app, environments: environmentsOf(info.data) })}>
              {t.token.make}…
            </Button>
          </div>
          <p class="faint">{t.token.aboutApp}</p>
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
  return (
    <>
      <Heading
        aside={
          rights.value.mayAll("admin") && (
            <Button look="main" onClick={() => openMakeToken({ app: null, environments: [] })}>
              {t.token.make}…
            </Button>
          )
        }
      >
        {t.nav.tokens}
      </Heading>
      <p class="faint">{t.token.about}</p>
      {rights.value.mayAll("admin") ? <List app={null} /> : <Empty title={t.forbidden} />}
    </>
  );
}
