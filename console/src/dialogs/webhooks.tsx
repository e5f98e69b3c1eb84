// Webhooks: added with a secret that is shown once, tried, given another secret, removed; messages sent again.
import { useState } from "preact/hooks";
import type { Delivery, Webhook } from "../api_more.ts";
import { devanture } from "../command.ts";
import { call, path } from "../client.ts";
import { exact } from "../format.ts";
import { t } from "../texts.ts";
import { m } from "../texts_more.ts";
import { Button, Mark, Outside } from "../ui/basics.tsx";
import { ActionDialog, Check, Choice, closeDialog, Frame, openDialog, TextField } from "../ui/dialog.tsx";
import { ShownOnce } from "../ui/shown_once.tsx";
import { EVENTS, FORMATS, isAddress, isName } from "../webhooks.ts";

/** A set of words that a person ticks; none of them stands for all. */
function Several({ label, all, words, set }: { label: string; all: string[]; words: Set<string>; set: (words: Set<string>) => void }) {
  return (
    <fieldset class="several">
      <legend>{label}</legend>
      {all.map((word) => (
        <Check
          key={word}
          label={word}
          value={words.has(word)}
          set={(value) => set(new Set(value ? [...words, word] : [...words].filter((other) => other !== word)))}
        />
      ))}
    </fieldset>
  );
}

interface SetProps {
  app: string;
  environments: string[];
  /** The one that is set to something else; `null` for a new one. */
  webhook: Webhook | null;
}

/** The fields of a webhook as they were typed. */
function useFields({ environments, webhook }: SetProps) {
  const [name, setName] = useState(webhook?.name ?? "");
  const [url, setUrl] = useState("");
  const [format, setFormat] = useState<string>(webhook?.format ?? "standard");
  const [events, setEvents] = useState(new Set(webhook?.events ?? []));
  const [places, setPlaces] = useState(new Set(webhook?.environments ?? []));
  const known = [...new Set([...environments, ...(webhook?.environments ?? [])])];
  const wanted = EVENTS.filter((event) => events.has(event));
  const from = known.filter((place) => places.has(place));
  const fields = (
    <>
      {!webhook && <TextField label={m.webhooks.name} hint={m.webhooks.nameHint} value={name} set={setName} max={32} pattern="[a-z][a-z0-9_\-]*" first required />}
      <TextField
        label={m.webhooks.address}
        hint={webhook ? m.webhooks.addressStays : m.webhooks.addressHint}
        value={url}
        set={setUrl}
        max={2048}
        first={webhook !== null}
        required={webhook === null}
        placeholder="https://ci.example.org/hooks"
      />
      <Choice label={m.webhooks.format} value={format} set={setFormat} options={FORMATS.map((one) => ({ value: one, text: m.webhooks.formats[one] }))} />
      <Several label={m.webhooks.eventsHint} all={EVENTS} words={events} set={setEvents} />
      {known.length > 0 && <Several label={m.webhooks.environmentsHint} all={known} words={places} set={setPlaces} />}
    </>
  );
  const isPossible = isName(name) && (url === "" ? webhook !== null : isAddress(url));
  return { name, url, format, wanted, from, fields, isPossible };
}

function SetDialog(props: SetProps) {
  const { app, webhook } = props;
  const { name, url, format, wanted, from, fields, isPossible } = useFields(props);
  const [secret, setSecret] = useState<string | null>(null);
  if (secret !== null) {
    return <ShownOnce title={m.webhooks.made} about={m.webhooks.once} secret={secret} named={m.webhooks.secretOf(name)} copy={m.webhooks.copySecret} />;
  }
  // The address of a chat is a secret, which the command line reads from its standard input.
  const shown = url !== "" && format === "standard" ? url : webhook && url === "" ? null : "-";
  return (
    <ActionDialog
      title={webhook ? m.webhooks.changeTitle(webhook.name) : m.webhooks.addTitle}
      command={devanture(
        "webhooks",
        "add",
        name || "ci",
        shown,
        ["--app", app],
        ["--format", format],
        ...wanted.map((event): [string, string] => ["--event", event]),
        webhook && wanted.length === 0 && "--every-event",
        ...from.map((place): [string, string] => ["--from", place]),
        webhook && from.length === 0 && "--from-all",
      )}
      {...(shown === "-" ? { commandHint: m.webhooks.addressRead } : {})}
      label={webhook ? t.settings.save : m.webhooks.add}
      disabled={!isPossible}
      done={() => {}}
      run={async () => {
        const body = { ...(url === "" ? {} : { url }), format, events: wanted, environments: from };
        const set = await call<{ secret?: string }>("PUT", path`/v1/apps/${app}/webhooks/${name}`, { body });
        if (set.secret === undefined) closeDialog();
        else setSecret(set.secret);
        return m.webhooks.saved(name);
      }}
    >
      {webhook?.disabled && <p>{m.webhooks.enables}</p>}
      {fields}
    </ActionDialog>
  );
}

/** What came of a message. */
export function Outcome({ delivery }: { delivery: Pick<Delivery, "state" | "last"> }) {
  const { state, last } = delivery;
  const tone = state === "delivered" ? "good" : state === "waiting" ? (last ? "warn" : "busy") : "bad";
  return (
    <>
      <Mark tone={tone}>{m.webhooks.states[state] ?? state}</Mark>
      {last && (last.status !== null || last.error) && (
        <span class="faint">
          {" "}
          {last.status !== null && m.webhooks.answered(last.status, last.ms)} {last.error && <Outside text={last.error} />}
        </span>
      )}
    </>
  );
}

function TestDialog({ app, name }: { app: string; name: string }) {
  const [sent, setSent] = useState<Delivery | null>(null);
  if (sent) {
    return (
      <Frame title={m.webhooks.tested(name)}>
        <div class="body">
          <p>
            <Outcome delivery={sent} />
          </p>
          {sent.last?.answer && (
            <pre class="lines" tabIndex={0} aria-label={m.webhooks.answer}>
              <Outside text={sent.last.answer} lines />
            </pre>
          )}
        </div>
        <footer>
          <Button look="main" onClick={closeDialog} data-first>
            {t.close}
          </Button>
        </footer>
      </Frame>
    );
  }
  return (
    <ActionDialog
      title={m.webhooks.testTitle(name)}
      command={devanture("webhooks", "test", name, ["--app", app])}
      label={m.webhooks.test}
      done={() => {}}
      run={async () => {
        setSent(await call<Delivery>("POST", path`/v1/apps/${app}/webhooks/${name}/test`));
      }}
    >
      <p>{m.webhooks.testAbout}</p>
    </ActionDialog>
  );
}

function RotateDialog({ app, name }: { app: string; name: string }) {
  const [made, setMade] = useState<{ secret: string; old_secret_until_ms: number } | null>(null);
  if (made) {
    return (
      <ShownOnce title={m.webhooks.rotated} about={m.webhooks.once} secret={made.secret} named={m.webhooks.secretOf(name)} copy={m.webhooks.copySecret}>
        <p class="faint">{m.webhooks.until(exact(made.old_secret_until_ms))}</p>
      </ShownOnce>
    );
  }
  return (
    <ActionDialog
      title={m.webhooks.rotateTitle(name)}
      command={devanture("webhooks", "rotate", name, ["--app", app])}
      label={m.webhooks.rotate}
      done={() => {}}
      run={async () => {
        setMade(await call("POST", path`/v1/apps/${app}/webhooks/${name}/rotate`));
      }}
    >
      <p>{m.webhooks.rotateAbout}</p>
    </ActionDialog>
  );
}

function RemoveDialog({ app, webhook }: { app: string; webhook: Webhook }) {
  const { name, waiting } = webhook;
  return (
    <ActionDialog
      title={m.webhooks.removeTitle(name)}
      command={devanture("webhooks", "remove", name, ["--app", app])}
      label={m.webhooks.remove}
      danger
      run={async () => {
        await call("DELETE", path`/v1/apps/${app}/webhooks/${name}`);
        return m.webhooks.removed(name);
      }}
    >
      <p>
        {m.webhooks.removeAbout(waiting)} <Outside text={webhook.address} />
      </p>
    </ActionDialog>
  );
}

function RedeliverDialog({ app, name, id }: { app: string; name: string; id: string }) {
  return (
    <ActionDialog
      title={m.webhooks.againTitle}
      command={devanture("webhooks", "redeliver", name, id, ["--app", app])}
      label={m.webhooks.again}
      run={async () => {
        await call("POST", path`/v1/apps/${app}/webhooks/${name}/deliveries/${id}/redeliver`);
        return m.webhooks.waits;
      }}
    >
      <p>{m.webhooks.againAbout}</p>
    </ActionDialog>
  );
}

export const openWebhook = (props: SetProps) => openDialog(<SetDialog {...props} />);
export const openTest = (props: { app: string; name: string }) => openDialog(<TestDialog {...props} />);
export const openRotate = (props: { app: string; name: string }) => openDialog(<RotateDialog {...props} />);
export const openRemoveWebhook = (props: { app: string; webhook: Webhook }) => openDialog(<RemoveDialog {...props} />);
export const openRedeliver = (props: { app: string; name: string; id: string }) => openDialog(<RedeliverDialog {...props} />);
