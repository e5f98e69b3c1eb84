// The person who is logged in: what they may do, their sessions, and their passkeys.
import { useState } from "preact/hooks";
import type { Challenge, Page, Passkey, SessionInfo } from "../api.ts";
import { call, path } from "../client.ts";
import { curl } from "../command.ts";
import { logOut } from "../dialogs/session.tsx";
import { exact } from "../format.ts";
import { visible } from "../outside_text.ts";
import { makePasskey, passkeysWork } from "../passkeys.ts";
import { loadSession, rights, session, useListing, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { Button, Empty, Fact, Heading, Mark, Outside, Pending, ProblemBox, When } from "../ui/basics.tsx";
import { ActionDialog, openDialog, TextField } from "../ui/dialog.tsx";
import { useTitle } from "../ui/frame.tsx";
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
  return (
    <section aria-labelledby="sessions">
      <h2 id="sessions">{t.account.sessions}</h2>
      {list.problem && <ProblemBox problem={list.problem} again={list.reload} />}
      <div class="scroll" tabIndex={0} role="group" aria-label={t.account.sessions}>
        <table>
          <thead>
            <tr>
              <th scope="col">{t.account.who}</th>
              <th scope="col">{t.account.browser}</th>
              <th scope="col">{t.account.from}</th>
              <th scope="col">{t.account.begun}</th>
              <th scope="col">{t.account.used}</th>
              <th scope="col">{t.account.until}</th>
              <th scope="col">{t.actions}</th>
            </tr>
          </thead>
          <tbody>
            {list.items.map((one) => (
              <tr key={one.id}>
                <th scope="row">
                  <Outside text={one.account ?? one.token ?? ""} />
                  {one.current && <span class="tag">{t.account.current}</span>}
                </th>
                <td title={one.browser ? visible(one.browser) : undefined}>{one.browser ? <Outside text={browserName(one.browser)} /> : "—"}</td>
                <td>{one.from ? <Outside text={one.from} /> : "—"}</td>
                <td>
                  <When at={one.created_ms} />
                </td>
                <td>
                  <When at={one.used_ms} />
                </td>
                <td>
                  <When at={one.expires_ms} />
                </td>
                <td>
                  {one.current ? (
                    <Button onClick={() => void logOut()}>{t.logOut}</Button>
                  ) : (
                    <Button onClick={() => openDialog(<EndDialog one={one} />)}>{t.account.end}…</Button>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {list.hasMore && <Button onClick={list.more}>{t.more}</Button>}
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
      <Pending of={list} />
      {list.data?.passkeys.length === 0 && (
        <Empty title={t.passkeys.none}>
          <p>{t.passkeys.about}</p>
        </Empty>
      )}
      <ul class="previews">
        {list.data?.passkeys.map((one) => (
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
              <Button onClick={() => openDialog(<RemovePasskeyDialog one={one} />)}>{t.passkeys.remove}…</Button>
            </div>
          </li>
        ))}
      </ul>
      {list.data &&
        (passkeysWork() ? (
          <Button look="main" onClick={() => openDialog(<AddPasskeyDialog />)}>
            {t.passkeys.add}…
          </Button>
        ) : (
          <Mark tone="warn">{t.passkeys.unsupported}</Mark>
        ))}
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
                  {right.app ? <Outside text={right.app} /> : t.token.everyApp}
                  {right.environment && (
                    <>
                      {" / "}
                      <Outside text={right.environment} />
                    </>
                  )}
                </span>
              </li>
            ))}
          </ul>
        </Fact>
        <Fact name={t.account.until}>{own.expires_ms === null ? "—" : exact(own.expires_ms)}</Fact>
      </dl>
      {own.account !== null && <Passkeys />}
      <Sessions />
      {rights.value.mayAll("admin") && <p class="faint">{t.account.allSessions}</p>}
    </>
  );
}
