// Who may see something, and links that open it: set, made once and shown once, revoked.
import { useState } from "preact/hooks";
import type { History } from "../api.ts";
import type { Protection, ShareLink } from "../api_more.ts";
import { type AliasListing, choicesOf } from "../choices.ts";
import { devanture } from "../command.ts";
import { call, path, placePath } from "../client.ts";
import { modesOf, PREVIEWS, shortTarget } from "../protection.ts";
import { rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { m } from "../texts_more.ts";
import { Outside } from "../ui/basics.tsx";
import { ActionDialog, Choice, openDialog, TextField } from "../ui/dialog.tsx";
import { ShownOnce } from "../ui/shown_once.tsx";

/** What of the edge's own holds where nothing is set. */
const DEFAULT = "default";

function PasswordField({ hint, value, set, required }: { hint: string; value: string; set: (value: string) => void; required?: boolean }) {
  return (
    <TextField label={m.protection.password} hint={hint} type="password" complete="new-password" value={value} set={set} max={256} required={required ?? false} />
  );
}

function ProtectDialog({ app, now }: { app: string; now: Protection }) {
  const { environment } = now;
  const what = environment === PREVIEWS ? m.protection.previews : environment;
  const [mode, setMode] = useState<string>(now.is_default ? DEFAULT : now.mode);
  const [password, setPassword] = useState("");
  const isByPassword = mode === "password";
  const isSame = mode === (now.is_default ? DEFAULT : now.mode) && password === "";
  return (
    <ActionDialog
      title={m.protection.changeTitle(what)}
      command={devanture("protect", environment === PREVIEWS ? "previews" : environment, mode, ["--app", app])}
      {...(isByPassword && password !== "" ? { commandHint: m.protection.typed } : {})}
      label={t.settings.save}
      disabled={isSame || (isByPassword && !now.has_password && password === "")}
      run={async () => {
        const body = { ...(mode === DEFAULT ? {} : { mode }), ...(isByPassword && password !== "" ? { password } : {}) };
        await call("PUT", placePath(app, environment, "protection"), { body });
        return m.protection.saved(what);
      }}
    >
      <Choice
        label={m.protection.mode}
        value={mode}
        set={setMode}
        hint={m.protection.hints[mode] ?? m.protection.defaultHint}
        options={[...modesOf(environment), DEFAULT].map((one) => ({ value: one, text: m.protection.modes[one] ?? m.protection.default }))}
        first
      />
      {isByPassword && <PasswordField hint={now.has_password ? m.protection.passwordStays : m.protection.passwordHint} value={password} set={setPassword} required={!now.has_password} />}
    </ActionDialog>
  );
}

const ENDS: [text: string, seconds: number][] = [
  ["1h", 3600],
  ["1d", 86_400],
  ["3d", 3 * 86_400],
  ["7d", 7 * 86_400],
  ["30d", 30 * 86_400],
  ["90d", 90 * 86_400],
];

/** Deploys whose versions can be picked. */
const HISTORY = 50;

interface MakeProps {
  app: string;
  environments: string[];
  /** What it opens, where that is known: a version, an alias or an environment. */
  target?: string;
}

/** What a link of a person may open: environments where they may push, versions and aliases where they may push previews. */
function useTargets({ app, environments, target }: MakeProps) {
  const may = rights.value;
  const mayPreviews = may.can("shareLinks", app, PREVIEWS);
  const places = environments.filter((env) => may.can("shareLinks", app, env));
  const first = environments[0];
  const isOpen = target === undefined && mayPreviews;
  const history = useResource<History>(isOpen && first ? `targets ${app} ${first}` : null, (signal) =>
    call("GET", placePath(app, first ?? "", "history"), { query: { limit: HISTORY }, signal }),
  );
  const aliases = useResource<AliasListing>(isOpen ? `aliases ${app}` : null, (signal) =>
    call("GET", path`/v1/apps/${app}/aliases`, { query: { limit: 200 }, signal }),
  );
  const found = choicesOf(places, aliases.data?.aliases ?? [], history.data);
  if (target === undefined) return [...found.environments, ...found.aliases, ...found.versions];
  return [{ value: target, text: shortTarget(target) }];
}

function MakeDialog(props: MakeProps) {
  const { app } = props;
  const targets = useTargets(props);
  const [chosen, setChosen] = useState("");
  const [ends, setEnds] = useState("7d");
  const [password, setPassword] = useState("");
  const [url, setUrl] = useState<string | null>(null);
  const target = chosen || (targets[0]?.value ?? "");
  if (url !== null) {
    return <ShownOnce title={m.links.made} about={m.links.once} secret={url} named={m.links.of(shortTarget(target))} copy={m.links.copy} />;
  }
  return (
    <ActionDialog
      title={m.links.makeTitle}
      command={devanture("share", shortTarget(target) || null, ["--app", app], ["--expires", ends], password !== "" && "--password")}
      {...(password === "" ? {} : { commandHint: m.protection.typed })}
      label={m.links.make}
      disabled={target === ""}
      done={() => {}}
      run={async () => {
        const expires_s = ENDS.find(([text]) => text === ends)?.[1];
        const body = { target, expires_s, ...(password === "" ? {} : { password }) };
        const made = await call<{ url: string }>("POST", path`/v1/apps/${app}/shares`, { body });
        setUrl(made.url);
      }}
    >
      <p>{m.links.makeAbout}</p>
      <Choice label={m.links.opens} value={target} set={setChosen} options={targets} first />
      <Choice label={t.share.ends} value={ends} set={setEnds} options={ENDS.map(([text]) => ({ value: text, text: m.links.lasts(text) }))} />
      <PasswordField hint={m.links.passwordHint} value={password} set={setPassword} />
    </ActionDialog>
  );
}

function RevokeDialog({ app, link, name }: { app: string; link: ShareLink; name: string }) {
  return (
    <ActionDialog
      title={m.links.revokeTitle}
      command={devanture("share", "revoke", link.id, ["--app", app])}
      label={t.token.revoke}
      danger
      run={async () => {
        await call("DELETE", path`/v1/apps/${app}/shares/${link.id}`);
        return m.links.revoked;
      }}
    >
      <p>
        {m.links.revokeAbout} <Outside text={name} />
      </p>
    </ActionDialog>
  );
}

export const openProtect = (props: { app: string; now: Protection }) => openDialog(<ProtectDialog {...props} />);
export const openShareLink = (props: MakeProps) => openDialog(<MakeDialog {...props} />);
export const openRevokeLink = (props: { app: string; link: ShareLink; name: string }) => openDialog(<RevokeDialog {...props} />);
