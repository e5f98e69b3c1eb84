// What a canary goes through: it begins, gets another share of the visitors, is finished or aborted.
import { useState } from "preact/hooks";
import type { CanaryShare, CanaryStatus, InApp, Step, SwitchReport } from "../api.ts";
import { type Plan, planFlags, planOf, shareOf, TIMES } from "../canary.ts";
import { at, curl, devanture } from "../command.ts";
import { call, follow, placePath, problemFrom } from "../client.ts";
import { shortId } from "../format.ts";
import { meanwhile } from "../meanwhile.ts";
import { t } from "../texts.ts";
import { Id } from "../ui/basics.tsx";
import { ActionDialog, Check, Choice, openDialog, ReasonField, TextField } from "../ui/dialog.tsx";
import { DiffSummary } from "../ui/diff.tsx";

/** What of a body is said at all. */
function said(body: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value));
}

/** A lock that refused it may be overridden, once it has. */
function useLock() {
  const [force, setForce] = useState(false);
  const [isLocked, setLocked] = useState(false);
  const around = async <Answer,>(run: () => Promise<Answer>): Promise<Answer> => {
    try {
      return await run();
    } catch (error) {
      if (problemFrom(error).code === "locked") setLocked(true);
      throw error;
    }
  };
  return { force, around, field: isLocked && <Check label={t.force} value={force} set={setForce} /> };
}

/** The steps that a canary takes by itself, and their time. */
function usePlan() {
  const [typed, setTyped] = useState("");
  const [every, setEvery] = useState("5m");
  const plan: Plan | null | undefined = planOf(typed, every);
  const fields = (
    <>
      <TextField label={t.canary.plan} hint={t.canary.planHint} value={typed} set={setTyped} max={120} placeholder="25 50 100" />
      {plan !== null && (
        <Choice label={t.canary.every} value={every} set={setEvery} options={TIMES.map(([text]) => ({ value: text, text: t.canary.times(text) }))} />
      )}
    </>
  );
  return { plan, fields };
}

interface BeginProps extends InApp {
  version: string;
  /** What is live: the canary begins only beside this. */
  live: string;
}

function BeginDialog({ app, env, version, live }: BeginProps) {
  const [typed, setTyped] = useState("10");
  const [cookie, setCookie] = useState("");
  const [reason, setReason] = useState("");
  const { plan, fields } = usePlan();
  const lock = useLock();
  const share = shareOf(typed);
  const short = shortId(version);
  const where = placePath(app, env, "canary");
  const body = said({ version, share, plan, cookie: cookie.trim(), reason: reason.trim(), force: lock.force, if_live: live });
  return (
    <ActionDialog
      title={t.canary.beginTitle(short, env)}
      command={curl("PUT", location.origin + where, body)}
      commandHint={t.curlHint}
      label={t.canary.begin}
      disabled={share === null || plan === undefined}
      run={async () => {
        try {
          const status = await lock.around(() => call<CanaryStatus>("PUT", where, { body }));
          return t.canary.begun(short, status.canary?.share ?? 0);
        } catch (error) {
          throw meanwhile(error);
        }
      }}
      wide
    >
      <p>{t.canary.about}</p>
      <TextField label={t.canary.share} hint={t.canary.shareHint} value={typed} set={setTyped} pattern="[1-9][0-9]?" max={3} first required />
      {fields}
      <TextField label={t.canary.cookie} hint={t.canary.cookieHint} value={cookie} set={setCookie} pattern="[A-Za-z0-9._\-]+" max={64} />
      <DiffSummary app={app} from={live} to={version} env={env} />
      <ReasonField value={reason} set={setReason} />
      {lock.field}
    </ActionDialog>
  );
}

type RunningProps = InApp & { canary: CanaryShare };

function StepDialog({ app, env, canary }: RunningProps) {
  const [typed, setTyped] = useState(String(canary.share));
  const [reason, setReason] = useState("");
  const { plan, fields } = usePlan();
  const lock = useLock();
  const share = shareOf(typed);
  const isSame = share === canary.share && plan === null;
  return (
    <ActionDialog
      title={t.canary.stepTitle(env)}
      command={devanture("canary", String(share ?? ""), ...at(app, env), ...planFlags(plan), ["--reason", reason.trim()], lock.force && "--force")}
      label={t.canary.step}
      disabled={share === null || plan === undefined || isSame}
      run={async () => {
        const body = said({ share, plan, reason: reason.trim(), force: lock.force });
        await lock.around(() => call("PUT", placePath(app, env, "canary"), { body }));
        return t.canary.begun(shortId(canary.version), share ?? 0);
      }}
    >
      <TextField label={t.canary.share} hint={t.canary.shareHint} value={typed} set={setTyped} pattern="[1-9][0-9]?" max={3} first required />
      <p class="faint">{t.canary.stepAbout}</p>
      {fields}
      <ReasonField value={reason} set={setReason} />
      {lock.field}
    </ActionDialog>
  );
}

function FinishDialog({ app, env, canary, live }: RunningProps & { live: string | null }) {
  const [reason, setReason] = useState("");
  const lock = useLock();
  const short = shortId(canary.version);
  return (
    <ActionDialog
      title={t.canary.finishTitle(env)}
      command={devanture("canary", "finish", ...at(app, env), ["--reason", reason.trim()], lock.force && "--force")}
      label={t.canary.finishTo(short)}
      run={async (step) => {
        const body = said({ reason: reason.trim(), force: lock.force });
        const where = placePath(app, env, "canary", "finish");
        const report = await lock.around(() => follow<SwitchReport>(where, { body }, (data) => step(data as Step)));
        return t.isLive(shortId(report.version), report.environment);
      }}
      wide
    >
      <p>
        {t.canary.finishAbout} <Id id={canary.version} />
      </p>
      {live && <DiffSummary app={app} from={live} to={canary.version} env={env} />}
      <ReasonField value={reason} set={setReason} />
      {lock.field}
    </ActionDialog>
  );
}

function AbortDialog({ app, env, canary }: RunningProps) {
  const [reason, setReason] = useState("");
  return (
    <ActionDialog
      title={t.canary.abortTitle(env)}
      command={devanture("canary", "abort", ...at(app, env), ["--reason", reason.trim()])}
      label={t.canary.abort}
      danger
      run={async () => {
        await call("DELETE", placePath(app, env, "canary"), { body: said({ reason: reason.trim() }) });
        return t.canary.aborted(env);
      }}
    >
      <p>
        {t.canary.abortAbout} <Id id={canary.version} />
      </p>
      <ReasonField value={reason} set={setReason} />
    </ActionDialog>
  );
}

export const openCanary = (props: BeginProps) => openDialog(<BeginDialog {...props} />);
export const openCanaryStep = (props: RunningProps) => openDialog(<StepDialog {...props} />);
export const openCanaryFinish = (props: RunningProps & { live: string | null }) => openDialog(<FinishDialog {...props} />);
export const openCanaryAbort = (props: RunningProps) => openDialog(<AbortDialog {...props} />);
