// What holds an environment as it is, or takes it away: locks, pauses, deletion, restoring.
import { useState } from "preact/hooks";
import type { DeletedThing, InApp } from "../api.ts";
import { at, devanture } from "../command.ts";
import { call, path, placePath } from "../client.ts";
import { exact, shortId } from "../format.ts";
import { go, to } from "../router.ts";
import { useResource } from "../state.ts";
import { t } from "../texts.ts";
import { Fact, Outside, Pending } from "../ui/basics.tsx";
import { ActionDialog, closeDialog, openDialog, ReasonField, TextField } from "../ui/dialog.tsx";

function LockDialog({ app, env }: InApp) {
  const [reason, setReason] = useState("");
  return (
    <ActionDialog
      title={t.lock.title(env)}
      command={devanture("lock", ...at(app, env), ["--reason", reason.trim()])}
      label={t.lock.label}
      run={async () => {
        const body = reason.trim() ? { reason: reason.trim() } : {};
        await call("PUT", placePath(app, env, "lock"), { body });
        return t.lock.done(env);
      }}
    >
      <p>{t.lock.about}</p>
      <ReasonField hint={t.lock.hint} value={reason} set={setReason} />
    </ActionDialog>
  );
}

function UnlockDialog({ app, env }: InApp) {
  return (
    <ActionDialog
      title={t.unlock.title(env)}
      command={devanture("unlock", ...at(app, env))}
      label={t.unlock.label}
      run={async () => {
        await call("DELETE", placePath(app, env, "lock"));
        return t.unlock.done(env);
      }}
    >
      <p>{t.unlock.about}</p>
    </ActionDialog>
  );
}

function PauseDialog({ app, env }: InApp) {
  const [message, setMessage] = useState("");
  const [allow, setAllow] = useState("");
  const paths = allow.split(/\s+/).filter(Boolean);
  return (
    <ActionDialog
      title={t.pause.title(env)}
      command={devanture(
        "pause",
        ...at(app, env),
        ["--message", message.trim()],
        ...paths.map((one): [string, string] => ["--allow", one]),
      )}
      label={t.pause.label}
      danger
      run={async () => {
        const body = { ...(message.trim() ? { message: message.trim() } : {}), allow: paths };
        await call("POST", placePath(app, env, "pause"), { body });
        return t.pause.done(env);
      }}
    >
      <p>{t.pause.about}</p>
      <TextField label={t.pause.message} value={message} set={setMessage} max={1000} first />
      <TextField label={t.pause.allow} hint={t.pause.allowHint} value={allow} set={setAllow} placeholder="/status /api/*" />
    </ActionDialog>
  );
}

function ResumeDialog({ app, env }: InApp) {
  return (
    <ActionDialog
      title={t.resume.title(env)}
      command={devanture("resume", ...at(app, env))}
      label={t.resume.label}
      run={async () => {
        await call("POST", placePath(app, env, "resume"));
        return t.resume.done(env);
      }}
    >
      <p>{t.resume.about}</p>
    </ActionDialog>
  );
}

interface Deletion {
  environments: string[];
  hostnames: string[];
  versions: number;
  until_ms: number;
}

/** Deletes an app, or one environment; a person types its name, as it hurts. */
function DeleteDialog({ app, env }: { app: string; env: string | null }) {
  const [typed, setTyped] = useState("");
  const where = env === null ? path`/v1/apps/${app}` : placePath(app, env);
  const name = env ?? app;
  const predicted = useResource<Deletion>(`delete ${where}`, (signal) =>
    call("DELETE", where, { query: { dry_run: true }, signal }),
  );
  const leave = () => {
    closeDialog();
    if (env === null) go(to("apps"));
  };
  return (
    <ActionDialog
      title={t.delete.title(name)}
      command={
        env === null
          ? devanture("delete", "app", app, ["--app", app], "--yes")
          : devanture("delete", "environment", env, ["--app", app], "--yes")
      }
      label={t.delete.label}
      danger
      disabled={typed !== name || predicted.data === null}
      done={leave}
      run={async () => {
        await call("DELETE", where);
        return t.delete.done(name);
      }}
    >
      <Pending of={predicted} />
      {predicted.data && (
        <>
          <p>{t.delete.until(exact(predicted.data.until_ms))}</p>
          <dl class="facts">
            <Fact name={t.delete.environments}>
              {predicted.data.environments.length > 0 ? <Outside text={predicted.data.environments.join(", ")} /> : "—"}
            </Fact>
            <Fact name={t.delete.hostnames}>
              {predicted.data.hostnames.length > 0 ? <Outside text={predicted.data.hostnames.join(", ")} /> : "—"}
            </Fact>
            {env === null && <Fact name={t.delete.versions}>{predicted.data.versions}</Fact>}
          </dl>
        </>
      )}
      <TextField label={t.delete.type(name)} value={typed} set={setTyped} first />
    </ActionDialog>
  );
}

function DeleteVersionDialog({ app, version }: { app: string; version: string }) {
  const where = path`/v1/apps/${app}/versions/${version}`;
  const predicted = useResource<{ until_ms: number }>(`delete ${where}`, (signal) =>
    call("DELETE", where, { query: { dry_run: true }, signal }),
  );
  return (
    <ActionDialog
      title={t.delete.title(shortId(version))}
      command={devanture("delete", "version", shortId(version), ["--app", app], "--yes")}
      label={t.delete.label}
      danger
      disabled={predicted.data === null}
      run={async () => {
        await call("DELETE", where);
        return t.delete.done(shortId(version));
      }}
    >
      <Pending of={predicted} />
      {predicted.data && <p>{t.delete.version(exact(predicted.data.until_ms))}</p>}
    </ActionDialog>
  );
}

function RestoreDialog({ thing }: { thing: DeletedThing }) {
  const { app, environment, version } = thing;
  const name = version ? shortId(version) : (environment ?? app);
  const what = version ? ["version", shortId(version)] : environment ? ["environment", environment] : ["app", app];
  return (
    <ActionDialog
      title={t.restore.title(name)}
      command={devanture("undelete", ...what, ["--app", app])}
      label={t.restore.label}
      run={async () => {
        const body = version ? { version } : environment ? { environment } : {};
        await call("POST", path`/v1/apps/${app}/undelete`, { body });
        return t.restore.done(name);
      }}
    >
      <p>{version ? t.restore.version : t.restore.about}</p>
    </ActionDialog>
  );
}

export const openLock = (place: InApp) => openDialog(<LockDialog {...place} />);
export const openUnlock = (place: InApp) => openDialog(<UnlockDialog {...place} />);
export const openPause = (place: InApp) => openDialog(<PauseDialog {...place} />);
export const openResume = (place: InApp) => openDialog(<ResumeDialog {...place} />);
export const openDelete = (app: string, env: string | null) => openDialog(<DeleteDialog app={app} env={env} />);
export const openDeleteVersion = (app: string, version: string) =>
  openDialog(<DeleteVersionDialog app={app} version={version} />);
export const openRestore = (thing: DeletedThing) => openDialog(<RestoreDialog thing={thing} />);
