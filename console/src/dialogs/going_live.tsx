// What makes another version live: rolling back, switching, promoting. What goes live is what the dialog showed.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { InApp, Step, SwitchReport } from "../api.ts";
import { type Argument, at, devanture } from "../command.ts";
import { call, follow, placePath } from "../client.ts";
import { shortId } from "../format.ts";
import { meanwhile } from "../meanwhile.ts";
import { useResource } from "../state.ts";
import { t } from "../texts.ts";
import { Mark, Outside, Pending, ProblemBox, Tag } from "../ui/basics.tsx";
import { ActionDialog, Check, Choice, openDialog, ReasonField } from "../ui/dialog.tsx";
import { DiffSummary } from "../ui/diff.tsx";

type Fields = Record<string, string | boolean | null | undefined>;

function body(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value));
}

/** Makes live what was shown in place of what was shown; if another version is live by then, nothing is changed. */
async function go(where: string, shown: SwitchReport, fields: Fields, step: (step: Step) => void): Promise<string> {
  const wanted = body({ ...fields, version: shown.version, if_live: shown.previous });
  try {
    const report = await follow<SwitchReport>(where, { body: wanted }, (data) => step(data as Step));
    const said = report.switched ? t.isLive : t.wasLive;
    return said(shortId(report.version), report.environment);
  } catch (error) {
    throw meanwhile(error);
  }
}

interface GoingProps extends InApp {
  operation: "rollback" | "switch" | "promote";
  /** Which version is asked for: in the request, and before it in its dry run. */
  wanted: Fields;
  /** What else the request says. */
  also?: Fields;
  title: string;
  /** The label of the button, with the version that it would make live. */
  label: (version: string | null) => string;
  /** The command line, by what would happen and the flags that all of them take. */
  command: (shown: SwitchReport | null, flags: Argument[]) => string;
  /** Above the difference. */
  choice?: ComponentChildren;
  /** Below the difference. */
  children?: (shown: SwitchReport) => ComponentChildren;
}

function GoingDialog(props: GoingProps) {
  const { app, env, operation, wanted } = props;
  const [reason, setReason] = useState("");
  const [force, setForce] = useState(false);
  const where = placePath(app, env, operation);
  const asked = body({ ...wanted, force });
  const predicted = useResource<SwitchReport>(`${where} ${JSON.stringify(asked)}`, (signal) =>
    call("POST", where, { query: { dry_run: true }, body: asked, signal }),
  );
  const shown = predicted.data;
  const isSame = shown !== null && shown.version === shown.previous;
  return (
    <ActionDialog
      title={props.title}
      command={props.command(shown, [...at(app, operation === "promote" ? undefined : env), ["--reason", reason.trim()], force && "--force"])}
      label={props.label(shown && shortId(shown.version))}
      disabled={shown === null || isSame || predicted.loading || predicted.problem !== null}
      run={async (step) => (shown ? go(where, shown, { ...wanted, ...props.also, reason: reason.trim(), force }, step) : undefined)}
      wide
    >
      {props.choice}
      <Pending of={predicted} what={t.looking} />
      {shown && predicted.problem && <ProblemBox problem={predicted.problem} again={predicted.reload} />}
      {shown && !isSame && <DiffSummary app={app} from={shown.previous ?? env} to={shown.version} env={env} />}
      {shown && isSame && <Mark tone="good">{t.wasLive(shortId(shown.version), env)}</Mark>}
      {shown && props.children?.(shown)}
      <ReasonField value={reason} set={setReason} />
      {(force || predicted.problem?.code === "locked") && <Check label={t.force} value={force} set={setForce} />}
    </ActionDialog>
  );
}

interface RollbackProps extends InApp {
  /** By default the one that was live before. */
  version?: string;
  maySettings: boolean;
}

function RollbackDialog({ app, env, version, maySettings }: RollbackProps) {
  const [withSettings, setWithSettings] = useState(false);
  return (
    <GoingDialog
      app={app}
      env={env}
      operation="rollback"
      wanted={{ version }}
      also={{ with_settings: withSettings }}
      title={t.rollback.title(env)}
      label={(target) => (target ? t.rollback.to(target) : t.rollback.label)}
      command={(shown, flags) => {
        const target = shown?.version ?? version;
        return devanture("rollback", target ? shortId(target) : null, ...flags, withSettings && "--with-settings");
      }}
    >
      {({ settings }) =>
        settings && (
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
        )
      }
    </GoingDialog>
  );
}

function SwitchDialog({ app, env, version }: InApp & { version: string }) {
  const short = shortId(version);
  return (
    <GoingDialog
      app={app}
      env={env}
      operation="switch"
      wanted={{ version }}
      title={t.switch.title(env)}
      label={() => t.switch.to(short)}
      command={(shown, flags) => devanture("switch", short, ["--if-live", shown?.previous && shortId(shown.previous)], ...flags)}
    />
  );
}

interface PromoteProps extends InApp {
  /** The environments that it may come from. */
  sources: string[];
}

function PromoteDialog({ app, env, sources }: PromoteProps) {
  const [from, setFrom] = useState(sources[0] ?? "");
  return (
    <GoingDialog
      app={app}
      env={env}
      operation="promote"
      wanted={{ from }}
      title={t.promote.to(env)}
      label={() => t.promote.to(env)}
      command={(_shown, [ofApp = null, ...flags]) => devanture("promote", ofApp, ["--from", from], ["--to", env], ...flags)}
      choice={<Choice label={t.promote.from} value={from} set={setFrom} options={sources.map((name) => ({ value: name, text: name }))} />}
    />
  );
}

export const openRollback = (props: RollbackProps) => openDialog(<RollbackDialog {...props} />);
export const openSwitch = (props: InApp & { version: string }) => openDialog(<SwitchDialog {...props} />);
export const openPromote = (props: PromoteProps) => openDialog(<PromoteDialog {...props} />);
