// What makes another version live: rolling back, switching, promoting.
import { useState } from "preact/hooks";
import type { Diff, InApp, Step, SwitchReport } from "../api.ts";
import { at, devanture } from "../command.ts";
import { call, follow, path, placePath } from "../client.ts";
import { checkSame } from "../prediction.ts";
import { shortId } from "../format.ts";
import { useResource } from "../state.ts";
import { t } from "../texts.ts";
import { Fact, Id, Mark, Outside, Pending, ProblemBox, Tag } from "../ui/basics.tsx";
import { ActionDialog, Check, Choice, openDialog, ReasonField } from "../ui/dialog.tsx";
import { DiffSummary, DiffView } from "../ui/diff.tsx";

function body(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== "" && value !== false && value !== null));
}

/** Asks what an operation would do; it changes nothing. */
function predict(place: InApp, operation: string, fields: Record<string, unknown>, signal?: AbortSignal) {
  const where = placePath(place.app, place.env, operation);
  return call<SwitchReport>("POST", where, { query: { dry_run: true }, body: body(fields), ...(signal ? { signal } : {}) });
}

async function change(place: InApp, operation: string, fields: Record<string, unknown>, step: (step: Step) => void) {
  const where = placePath(place.app, place.env, operation);
  const report = await follow<SwitchReport>(where, { body: body(fields) }, (data) => step(data as Step));
  return report.switched ? t.isLive(shortId(report.version), place.env) : t.wasLive(shortId(report.version), place.env);
}

function Predicted({ of, env }: { of: SwitchReport; env: string }) {
  return (
    <dl class="facts">
      <Fact name={t.nowIn(env)}>
        <Id id={of.previous} />
      </Fact>
      <Fact name={t.then}>
        <Id id={of.version} />
      </Fact>
    </dl>
  );
}

interface GoProps extends InApp {
  version?: string | undefined;
  locked: boolean;
}

/** Goes back to the version that was live before, or to a given one. */
function RollbackDialog({ app, env, version, locked, maySettings }: GoProps & { maySettings: boolean }) {
  const [reason, setReason] = useState("");
  const [force, setForce] = useState(false);
  const [withSettings, setWithSettings] = useState(false);
  const asked = { version: version ?? null, force };
  const predicted = useResource<SwitchReport>(`rollback ${app} ${env} ${version} ${force}`, (signal) =>
    predict({ app, env }, "rollback", asked, signal),
  );
  const shown = predicted.data;
  const target = shown?.version ?? version;
  const settings = predicted.data?.settings;
  return (
    <ActionDialog
      title={t.rollback.title(env)}
      command={devanture(
        "rollback",
        target ? shortId(target) : null,
        ...at(app, env),
        ["--reason", reason.trim()],
        withSettings && "--with-settings",
        force && "--force",
      )}
      label={target ? t.rollback.to(shortId(target)) : t.rollback.label}
      disabled={shown === null || predicted.problem !== null || predicted.loading}
      run={async (step) => {
        checkSame(shown, await predict({ app, env }, "rollback", asked), env);
        const fields = { version: target, reason: reason.trim(), force, with_settings: withSettings };
        return change({ app, env }, "rollback", fields, step);
      }}
    >
      <Pending of={predicted} what={t.rollback.looking} />
      {predicted.data && predicted.problem && <ProblemBox problem={predicted.problem} again={predicted.reload} />}
      {predicted.data && <Predicted of={predicted.data} env={env} />}
      {settings && (
        <>
          <p>{t.rollback.settings(settings.was, settings.now)}</p>
          <p class="tags">
            {[...settings.changed, ...settings.added, ...settings.removed].map((name) => (
              <Tag key={name}>
                <Outside text={name} />
              </Tag>
            ))}
          </p>
          {maySettings && <Check label={t.rollback.withSettings} value={withSettings} set={setWithSettings} />}
        </>
      )}
      <ReasonField value={reason} set={setReason} />
      {(locked || force || predicted.problem?.code === "locked") && <Check label={t.force} value={force} set={setForce} />}
    </ActionDialog>
  );
}

export function openRollback(props: GoProps & { maySettings: boolean }): void {
  openDialog(<RollbackDialog {...props} />);
}

function SwitchDialog({ app, env, version, locked, live }: GoProps & { version: string; live: string | null }) {
  const [reason, setReason] = useState("");
  const [force, setForce] = useState(false);
  const short = shortId(version);
  return (
    <ActionDialog
      title={t.switch.title(env)}
      command={devanture(
        "switch",
        short,
        ...at(app, env),
        live ? ["--if-live", shortId(live)] : null,
        ["--reason", reason.trim()],
        force && "--force",
      )}
      label={t.switch.to(short)}
      run={(step) => change({ app, env }, "switch", { version, if_live: live, reason: reason.trim(), force }, step)}
      wide
    >
      <DiffSummary app={app} from={env} to={version} env={env} />
      <ReasonField value={reason} set={setReason} />
      {locked && <Check label={t.force} value={force} set={setForce} />}
    </ActionDialog>
  );
}

export function openSwitch(props: GoProps & { version: string; live: string | null }): void {
  openDialog(<SwitchDialog {...props} />);
}

interface PromoteProps extends InApp {
  /** The environments that it may come from. */
  sources: string[];
  locked: boolean;
}

function PromoteDialog({ app, env, sources, locked }: PromoteProps) {
  const [from, setFrom] = useState(sources[0] ?? "");
  const [reason, setReason] = useState("");
  const [force, setForce] = useState(false);
  const diff = useResource<Diff>(from ? `promote ${app} ${from} ${env}` : null, (signal) =>
    call("GET", path`/v1/apps/${app}/diff`, { query: { from: env, to: from, env, limit: 50 }, signal }),
  );
  const predicted = useResource<SwitchReport>(from ? `promotes ${app} ${from} ${env} ${force}` : null, (signal) =>
    predict({ app, env }, "promote", { from, force }, signal),
  );
  const shown = diff.data && { version: diff.data.to.version, previous: diff.data.from.version };
  const isSame = diff.data !== null && diff.data.from.version === diff.data.to.version;
  return (
    <ActionDialog
      title={t.promote.title(env)}
      command={devanture(
        "promote",
        ["--app", app],
        ["--from", from],
        ["--to", env],
        ["--reason", reason.trim()],
        force && "--force",
      )}
      label={t.promote.to(env)}
      disabled={from === "" || shown === null || diff.loading || isSame || predicted.problem !== null}
      run={async (step) => {
        checkSame(shown, await predict({ app, env }, "promote", { from, force }), env);
        return change({ app, env }, "promote", { from, reason: reason.trim(), force }, step);
      }}
      wide
    >
      <Choice
        label={t.promote.from}
        value={from}
        set={setFrom}
        options={sources.map((name) => ({ value: name, text: name }))}
      />
      {predicted.problem && <ProblemBox problem={predicted.problem} again={predicted.reload} />}
      {isSame ? <Mark tone="good">{t.promote.same(from, env)}</Mark> : <DiffView of={diff} />}
      <ReasonField value={reason} set={setReason} />
      {(locked || force || predicted.problem?.code === "locked") && <Check label={t.force} value={force} set={setForce} />}
    </ActionDialog>
  );
}

export function openPromote(props: PromoteProps): void {
  openDialog(<PromoteDialog {...props} />);
}
