// The person who is logged in: what they may do, their sessions, and their passkeys.
import { useState } from "preact/hooks";
import type { Challenge, Page, Passkey, SessionInfo } from "../api.ts";
import { call, confirmFirst, path } from "../client.ts";
import { curl } from "../command.ts";
import { logOut } from "../dialogs/session.tsx";
import { exact } from "../format.ts";
import { visible } from "../outside_text.ts";
import { makePasskey, passkeysWork } from "../passkeys.ts";
import { loadSession, rights, session, useListing, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { Button, Empty, Fact, Heading, Mark, Opens, Outside, Tag, When, Where } from "../ui/basics.tsx";
import { ActionDialog, openDialog, TextField } from "../ui/dialog.tsx";
import { useTitle } from "../ui/frame.tsx";
import { type Column, Listed, Loaded, Table } from "../ui/table.tsx";
import { browserName } from "../user_agent.ts";

function EndDialog({ one }: { one: SessionInfo }) {
  return (
    <ActionDialog
      title={t.account.endTitle}
      command={curl("DELETE", location.origin + path`/v1/sessions/${one.id}`)}
      commandHint={t.curlHint}
      label={t.account.end}
      danger
      run={async () => {
        await call("DELETE", path`/v1/sessions/${one.id}`);
        return t.account.ended;
      }}
    >
      <p>{t.account.endAbout}</p>
    </ActionDialog>
  );
}

function Sessions() {
  const list = useListing<SessionInfo>("sessions", async (cursor, signal) => {
    const page = await call<Page<"sessions", SessionInfo>>("GET", "/v1/sessions", { query: { limit: 100, after: cursor }, signal });
    return { items: page.sessions, next: page.next };
  });
  const columns: Column<SessionInfo>[] = [
    {
      head: t.account.who,
      isName: true,
      cell: (one) => (
        <>
          <Outside text={one.account ?? one.token ?? ""} />
          {one.current && <Tag>{t.account.current}</Tag>}
        </>
      ),
    },
    {
      head: t.account.browser,
      cell: (one) =>
        one.browser && (
          <span title={visible(one.browser)}>
            <Outside text={browserName(one.browser)} />
          </span>
        ),
    },
    { head: t.account.from, cell: (one) => one.from && <Outside text={one.from} /> },
    { head: t.account.begun, cell: (one) => <When at={one.created_ms} /> },
    { head: t.account.used, cell: (one) => <When at={one.used_ms} /> },
    { head: t.account.until, cell: (one) => <When at={one.expires_ms} /> },
    {
      head: t.actions,
      cell: (one) =>
        one.current ? (
          <Button onClick={() => void logOut()}>{t.logOut}</Button>
        ) : (
          <Opens label={t.account.end} of={one.browser ? browserName(one.browser) : one.id} open={() => openDialog(<EndDialog one={one} />)} />
        ),
    },
  ];
  return (
    <section aria-labelledby="sessions">
      <h2 id="sessions">{t.account.sessions}</h2>
      <Listed of={list} none={null}>
        {(items) => <Table name={t.account.sessions} columns={columns} rows={items} rowKey={(one) => one.id} />}
      </Listed>
    </section>
  );
}

function AddPasskeyDialog() {
  const [name, setName] = useState("");
  return (
    <ActionDialog
      title={t.passkeys.addTitle}
      command={t.passkeys.byBrowser}
      label={t.passkeys.add}
      disabled={name.trim() === ""}
      run={async () => {
        // The device would keep a passkey that the edge refuses, and offer it at each login.
        await confirmFirst(session.value?.confirmed_until_ms ?? null);
        const challenge = await call<Challenge>("POST", "/v1/session/challenge", { body: { purpose: "register" } });
        const made = await makePasskey(challenge);
        await call("POST", "/v1/passkeys", { body: { name: name.trim(), ...made } });
        await loadSession();
        return t.passkeys.added(name.trim());
      }}
    >
      <p>{t.passkeys.about}</p>
      <TextField label={t.passkeys.name} hint={t.passkeys.nameHint} value={name} set={setName} max={64} first required />
    </ActionDialog>
  );
}

function RemovePasskeyDialog({ one }: { one: Passkey }) {
  return (
    <ActionDialog
      title={t.passkeys.removeTitle}
      command={t.passkeys.byBrowser}
      label={t.passkeys.remove}
      danger
      run={async () => {
        await call("DELETE", path`/v1/passkeys/${one.id}`);
        await loadSession();
        return t.passkeys.removed(one.name);
      }}
    >
      <p>
        {t.passkeys.removeAbout} <Outside text={one.name} />
      </p>
    </ActionDialog>
  );
}

function Passkeys() {
  const list = useResource<{ passkeys: Passkey[] }>("passkeys", (signal) => call("GET", "/v1/passkeys", { signal }));
  // An edge of another release may have none.
  if (list.problem?.status === 404) return null;
  return (
    <section aria-labelledby="passkeys">
      <h2 id="passkeys">{t.passkeys.title}</h2>
      <Loaded of={list}>
        {({ passkeys }) => (
          <>
            {passkeys.length === 0 && (
              <Empty title={t.passkeys.none}>
                <p>{t.passkeys.about}</p>
              </Empty>
            )}
            <ul class="previews">
              {passkeys.map((one) => (
                <li key={one.id}>
                  <p>
                    <strong>
                      <Outside text={one.name} />
                    </strong>
                  </p>
                  <p class="faint">
                    {t.token.createdAt} <When at={one.created_ms} />
                    {" · "}
                    {t.token.used} {one.used_ms ? <When at={one.used_ms} /> : t.token.never}
                  </p>
                  <div class="actions">
                    <Opens label={t.passkeys.remove} of={one.name} open={() => openDialog(<RemovePasskeyDialog one={one} />)} />
                  </div>
                </li>
              ))}
            </ul>
            <div class="actions">
              {passkeysWork() ? (
                <Opens look="main" label={t.passkeys.add} open={() => openDialog(<AddPasskeyDialog />)} />
              ) : (
                <Mark tone="warn">{t.passkeys.unsupported}</Mark>
              )}
            </div>
          </>
        )}
      </Loaded>
    </section>
  );
}

export function AccountPage() {
  useTitle(t.nav.account);
  const own = session.value;
  if (!own) return null;
  return (
    <>
      <Heading>
        <Outside text={own.account ?? own.token ?? t.nav.account} />
      </Heading>
      <dl class="facts">
        <Fact name={t.account.kind}>{own.account === null ? t.account.byToken : t.account.byAccount}</Fact>
        <Fact name={t.account.rights}>
          <ul class="plain">
            {own.rights.map((right) => (
              <li key={`${right.app} ${right.environment}`}>
                {right.scopes.map((scope) => t.token.scopes[scope]).join(", ")}{" "}
                <span class="faint">
                  <Where app={right.app} environment={right.environment} />
                </span>
              </li>
            ))}
          </ul>
        </Fact>
        <Fact name={t.account.until}>{own.expires_ms === null ? "—" : exact(own.expires_ms)}</Fact>
      </dl>
      {own.account !== null && <Passkeys />}
      <Sessions />
      {rights.value.can("seeSessions") && <p class="faint">{t.account.allSessions}</p>}
    </>
  );
}
