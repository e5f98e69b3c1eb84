// Settings of an environment: values are shown, secrets are written only.
import { useState } from "preact/hooks";
import type { InApp, Setting, SettingsList } from "../api.ts";
import { at, devanture } from "../command.ts";
import { call, placePath } from "../client.ts";
import { rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { By, Empty, Mark, Opens, Outside, Pending, When } from "../ui/basics.tsx";
import { ActionDialog, Choice, openDialog, TextField } from "../ui/dialog.tsx";
import { AppFrame, chosenEnvironment, useApp, useTitle } from "../ui/frame.tsx";
import { type Column, Loaded, Table } from "../ui/table.tsx";

interface Place extends InApp {
  /** The revision that was looked at: a change is made only if it still holds. */
  revision: number;
}

type Kind = "private" | "public" | "secret";

function kindOf(setting: Setting | null): Kind {
  return setting?.secret ? "secret" : setting?.public ? "public" : "private";
}

function SetDialog({ app, env, revision, setting }: Place & { setting: Setting | null }) {
  const [name, setName] = useState(setting?.name ?? "");
  const [value, setValue] = useState(setting?.secret ? "" : (setting?.value ?? ""));
  const [kind, setKind] = useState<Kind>(kindOf(setting));
  const flag = kind === "secret" ? "--secret" : kind === "public" ? "--public" : null;
  return (
    <ActionDialog
      title={setting ? t.settings.changeTitle(setting.name) : t.settings.addTitle(env)}
      command={
        kind === "secret"
          ? devanture("env", "set", name || "NAME", ...at(app, env), flag)
          : devanture("env", "set", `${name || "NAME"}=${value}`, ...at(app, env), flag)
      }
      label={t.settings.save}
      disabled={name === ""}
      run={async () => {
        const wanted = { value, public: kind === "public", secret: kind === "secret" };
        await call("PATCH", placePath(app, env, "settings"), {
          headers: { "if-match": `"${revision}"` },
          body: { set: { [name]: wanted } },
        });
        return t.settings.saved(name);
      }}
    >
      {!setting && (
        <TextField
          label={t.settings.name}
          hint={t.settings.nameHint}
          value={name}
          set={setName}
          pattern="[A-Za-z][A-Za-z0-9_]*"
          max={256}
          first
          required
        />
      )}
      <Choice
        label={t.settings.kind}
        value={kind}
        set={(chosen) => setKind(chosen as Kind)}
        options={(["private", "public", "secret"] as const).map((one) => ({ value: one, text: t.settings.kinds[one] }))}
      />
      {kind === "secret" ? (
        <TextField label={t.settings.value} hint={t.settings.secretHint} type="password" complete="off" value={value} set={setValue} first={Boolean(setting)} />
      ) : (
        <TextField label={t.settings.value} value={value} set={setValue} lines={3} first={Boolean(setting)} />
      )}
    </ActionDialog>
  );
}

function UnsetDialog({ app, env, revision, setting }: Place & { setting: Setting }) {
  return (
    <ActionDialog
      title={t.settings.unsetTitle(setting.name)}
      command={devanture("env", "unset", setting.name, ...at(app, env))}
      label={t.settings.unset}
      danger
      run={async () => {
        await call("PATCH", placePath(app, env, "settings"), {
          headers: { "if-match": `"${revision}"` },
          body: { unset: [setting.name] },
        });
        return t.settings.unsetDone(setting.name);
      }}
    >
      <p>{setting.secret ? t.settings.unsetSecret : t.settings.unsetAbout}</p>
    </ActionDialog>
  );
}

function Value({ setting }: { setting: Setting }) {
  if (setting.lost) return <Mark tone="bad">{t.settings.lost}</Mark>;
  if (setting.secret) return <span class="faint">{t.settings.hidden}</span>;
  return <Outside text={setting.value ?? ""} lines />;
}

function Settings({ app, env, data }: InApp & { data: SettingsList }) {
  const mayChange = rights.value.can("changeSettings", app, env);
  const place = { app, env, revision: data.revision };
  const columns: (Column<Setting> | false)[] = [
    {
      head: t.settings.name,
      isName: true,
      cell: (setting) => (
        <code>
          <Outside text={setting.name} />
        </code>
      ),
    },
    { head: t.settings.value, class: "value", cell: (setting) => <Value setting={setting} /> },
    { head: t.settings.kind, cell: (setting) => t.settings.kinds[kindOf(setting)] },
    {
      head: t.settings.changed,
      class: "faint",
      cell: (setting) => (
        <>
          <When at={setting.at_ms} />
          <By who={setting.who} />
        </>
      ),
    },
    mayChange && {
      head: t.actions,
      cell: (setting) => (
        <div class="actions">
          <Opens label={t.settings.change} of={setting.name} open={() => openDialog(<SetDialog {...place} setting={setting} />)} />
          <Opens label={t.settings.unset} of={setting.name} open={() => openDialog(<UnsetDialog {...place} setting={setting} />)} />
        </div>
      ),
    },
  ];
  return (
    <>
      <div class="toolbar">
        <span class="faint">
          {t.card.revision(data.revision)}
          {data.who && (
            <>
              {" · "}
              <When at={data.at_ms} />
              <By who={data.who} />
            </>
          )}
        </span>
        {mayChange && <Opens look="main" label={t.settings.add} open={() => openDialog(<SetDialog {...place} setting={null} />)} />}
      </div>
      {data.settings.length === 0 ? (
        <Empty title={t.settings.none}>
          <p>{t.settings.about}</p>
        </Empty>
      ) : (
        <Table name={t.tabs.settings} columns={columns} rows={data.settings} rowKey={(setting) => setting.name} />
      )}
    </>
  );
}

export function SettingsPage({ app }: { app: string }) {
  useTitle(t.tabs.settings, app);
  const info = useApp(app);
  const env = chosenEnvironment(info.data);
  const list = useResource<SettingsList>(env ? `settings ${app} ${env}` : null, (signal) =>
    call("GET", placePath(app, env ?? "", "settings"), { signal }),
  );
  return (
    <AppFrame app={app} info={info.data} env={env}>
      <Pending of={info} />
      {env && <Loaded of={list}>{(data) => <Settings app={app} env={env} data={data} />}</Loaded>}
    </AppFrame>
  );
}
