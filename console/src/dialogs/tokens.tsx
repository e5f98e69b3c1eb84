// Tokens: made once and shown once, and revoked.
import { useState } from "preact/hooks";
import type { Scope, TokenInfo } from "../api.ts";
import { devanture, lifetime as lifetimeText } from "../command.ts";
import { call, path } from "../client.ts";
import { exact } from "../format.ts";
import { rights, session } from "../state.ts";
import { t } from "../texts.ts";
import { Outside } from "../ui/basics.tsx";
import { ActionDialog, Choice, openDialog, TextField } from "../ui/dialog.tsx";
import { ShownOnce } from "../ui/shown_once.tsx";

const LIFETIMES: [value: string, seconds: number][] = [
  ["1d", 86_400],
  ["7d", 7 * 86_400],
  ["30d", 30 * 86_400],
  ["90d", 90 * 86_400],
  ["365d", 365 * 86_400],
];

/** How long a token lasts at most: to the full age of the session, in whole minutes. */
function longest(): number | null {
  const ends = session.value?.expires_ms ?? null;
  return ends === null ? null : Math.max(60, Math.floor((ends - Date.now()) / 60_000) * 60);
}

/** An account may make what outlives its session, once it has confirmed that; a token makes nothing that outlives itself. */
function lifetimes(): [value: string, seconds: number][] {
  const ends = session.value?.account == null ? (session.value?.expires_ms ?? Infinity) : Infinity;
  return LIFETIMES.filter(([, seconds]) => Date.now() + seconds * 1000 < ends);
}

interface MakeProps {
  /** `null` for one of every app. */
  app: string | null;
  environments: string[];
}

function MakeDialog({ app, environments }: MakeProps) {
  const [name, setName] = useState("");
  const [scope, setScope] = useState<Scope>("push");
  const [env, setEnv] = useState("");
  const [lifetime, setLifetime] = useState("");
  const [token, setToken] = useState<string | null>(null);
  const seconds = LIFETIMES.find(([value]) => value === lifetime)?.[1];
  const lasts = seconds ?? longest();
  const ends = session.value?.expires_ms ?? null;
  const isEverywhere = app === null || rights.value.can("makeAppTokens", app);
  const own = environments.filter((one) => app !== null && rights.value.can("makeEnvironmentTokens", app, one));
  const options = [
    ...(isEverywhere ? [{ value: "", text: t.token.everyEnvironment }] : []),
    ...own.map((one) => ({ value: one, text: one })),
  ];
  const chosen = env || (isEverywhere ? "" : (own[0] ?? ""));
  if (token !== null) {
    return <ShownOnce title={t.token.made} about={t.token.once} secret={token} named={t.token.of(name.trim())} copy={t.token.copy} />;
  }
  return (
    <ActionDialog
      title={app === null ? t.token.titleAll : t.token.title(app)}
      command={devanture(
        "token",
        "create",
        app === null ? "--all-apps" : ["--app", app],
        chosen ? ["--env", chosen] : null,
        ["--name", name.trim() || "ci"],
        ["--scope", scope],
        lasts === null ? null : ["--expires", lifetimeText(lasts)],
      )}
      label={t.token.make}
      disabled={name.trim() === ""}
      done={() => {}}
      run={async () => {
        const body = {
          name: name.trim(),
          scope,
          ...(app === null ? {} : { app }),
          ...(chosen ? { environment: chosen } : {}),
          ...(seconds === undefined ? {} : { expires_in_s: seconds }),
        };
        const made = await call<{ token: string }>("POST", "/v1/tokens", { body });
        setToken(made.token);
      }}
    >
      <TextField label={t.token.name} hint={t.token.nameHint} value={name} set={setName} max={64} first required />
      <Choice
        label={t.token.scope}
        value={scope}
        set={(value) => setScope(value as Scope)}
        hint={t.token.scopeHint}
        options={rights.value.scopes(app).map((one) => ({ value: one, text: t.token.scopes[one] }))}
      />
      {app !== null && <Choice label={t.environment} value={chosen} set={setEnv} options={options} />}
      <Choice
        label={t.token.lifetime}
        value={lifetime}
        set={setLifetime}
        hint={session.value?.account == null ? t.token.lifetimeOfToken : t.token.lifetimeOfAccount}
        options={[...lifetimes().map(([value]) => ({ value, text: t.token.lifetimes(value) })), { value: "", text: t.token.noEnd(ends === null ? null : exact(ends)) }]}
      />
    </ActionDialog>
  );
}

function RevokeDialog({ token }: { token: TokenInfo }) {
  return (
    <ActionDialog
      title={t.token.revokeTitle}
      command={devanture("token", "revoke", token.id)}
      label={t.token.revoke}
      danger
      run={async () => {
        await call("DELETE", path`/v1/tokens/${token.id}`);
        return t.token.revoked;
      }}
    >
      <p>
        {t.token.revokeAbout} <Outside text={token.name} />
      </p>
    </ActionDialog>
  );
}

export const openMakeToken = (props: MakeProps) => openDialog(<MakeDialog {...props} />);
export const openRevokeToken = (token: TokenInfo) => openDialog(<RevokeDialog token={token} />);
