// Settings of an environment: values are shown, secrets are written only.
import { useState } from "preact/hooks";
import type { Setting, SettingsList } from "../api.ts";
import { at, devanture } from "../command.ts";
import { call, path } from "../client.ts";
import { rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { Button, Empty, Mark, Outside, Pending, Stale, When } from "../ui/basics.tsx";
import { ActionDialog, Choice, openDialog, TextField } from "../ui/dialog.tsx";
import { AppFrame, chosenEnvironment, useApp, useTitle } from "../ui/frame.tsx";

interface Place {
  app: string;
  env: string;
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
        await call("PATCH", path`/v1/apps/${app}/environments/${env}/settings`, {
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
          pattern="[A-Z][A-Z0-9_]*"
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
        await call("PATCH", path`/v1/apps/${app}/environments/${env}/settings`, {
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

export function SettingsPage({ app }: { app: string }) {
  useTitle(t.tabs.settings, app);
  const info = useApp(app);
  const env = chosenEnvironment(info.data);
  const list = useResource<SettingsList>(env ? `settings ${app} ${env}` : null, (signal) =>
    call("GET", path`/v1/apps/${app}/environments/${env ?? ""}/settings`, { signal }),
  );
  const mayChange = env !== null && rights.value.may("promote", app, env);
  const data = list.data;
  return (
    <AppFrame app={app} info={info.data} env={env}>
      <Pending of={info} />
      <Pending of={list} />
      <Stale of={list} />
      {data && env && (
        <>
          <div class="toolbar">
            <span class="faint">
              {t.card.revision(data.revision)}
              {data.who && (
                <>
                  {" · "}
                  <Outside text={data.who} />, <When at={data.at_ms} />
                </>
              )}
            </span>
            {mayChange && (
              <Button look="main" onClick={() => openDialog(<SetDialog app={app} env={env} revision={data.revision} setting={null} />)}>
                {t.settings.add}…
              </Button>
            )}
          </div>
          {data.settings.length === 0 ? (
            <Empty title={t.settings.none}>
              <p>{t.settings.about}</p>
            </Empty>
          ) : (
            <div class="scroll" tabIndex={0} role="group" aria-label={t.tabs.settings}>
              <table>
                <thead>
                  <tr>
                    <th scope="col">{t.settings.name}</th>
                    <th scope="col">{t.settings.value}</th>
                    <th scope="col">{t.settings.kind}</th>
                    <th scope="col">{t.settings.changed}</th>
                    <th scope="col">{t.actions}</th>
                  </tr>
                </thead>
                <tbody>
                  {data.settings.map((setting) => (
                    <tr key={setting.name}>
                      <th scope="row">
                        <code>
                          <Outside text={setting.name} />
                        </code>
                      </th>
                      <td class="value">
                        {setting.lost ? (
                          <Mark tone="bad">{t.settings.lost}</Mark>
                        ) : setting.secret ? (
                          <span class="faint">{t.settings.hidden}</span>
                        ) : (
                          <Outside text={setting.value ?? ""} lines />
                        )}
                      </td>
                      <td>{t.settings.kinds[kindOf(setting)]}</td>
                      <td class="faint">
                        <Outside text={setting.who} />, <When at={setting.at_ms} />
                      </td>
                      <td>
                        {mayChange && (
                          <div class="actions">
                            <Button
                              aria-label={t.settings.changeTitle(setting.name)}
                              onClick={() => openDialog(<SetDialog app={app} env={env} revision={data.revision} setting={setting} />)}
                            >
                              {t.settings.change}…
                            </Button>
                            <Button
                              aria-label={t.settings.unsetTitle(setting.name)}
                              onClick={() => openDialog(<UnsetDialog app={app} env={env} revision={data.revision} setting={setting} />)}
                            >
                              {t.settings.unset}…
                            </Button>
                          </div>
                        )}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )}
        </>
      )}
    </AppFrame>
  );
}
