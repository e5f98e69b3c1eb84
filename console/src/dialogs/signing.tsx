// Whose signatures an environment wants: set as a whole, and only if nobody else has set them meanwhile.
import { useState } from "preact/hooks";
import type { InApp } from "../api.ts";
import type { Signers } from "../api_more.ts";
import { at, devanture } from "../command.ts";
import { call, placePath, Refused } from "../client.ts";
import { keysOf } from "../signer_keys.ts";
import { t } from "../texts.ts";
import { m } from "../texts_more.ts";
import { Outside } from "../ui/basics.tsx";
import { ActionDialog, openDialog, TextField } from "../ui/dialog.tsx";

interface SignersProps extends InApp {
  /** The signers that the page showed. */
  now: Signers;
}

/** Sets the signers, unless they are others by now than were shown. */
async function set({ app, env, now }: SignersProps, signers: string[], signatures_min: number): Promise<void> {
  const where = placePath(app, env, "signers");
  const found = await call<Signers>("GET", where);
  if (found.at_ms !== now.at_ms || found.signers.join("\n") !== now.signers.join("\n")) {
    const detail = m.signers.meanwhile;
    throw new Refused({ title: detail, status: 409, code: "conflict", detail });
  }
  await call("PUT", where, { body: { signers, signatures_min } });
}

function command({ app, env }: InApp, signers: string[], least: number): string {
  if (signers.length === 0) return devanture("signers", "off", ...at(app, env));
  return devanture("signers", "set", ...signers, ["--min", least], ...at(app, env));
}

function SetDialog(props: SignersProps) {
  const { env, now } = props;
  const [lines, setLines] = useState(now.signers.join("\n"));
  const [typed, setTyped] = useState(String(Math.max(1, now.signatures_min)));
  const keys = keysOf(lines);
  const least = /^[1-9][0-9]?$/.test(typed.trim()) ? Number(typed) : 0;
  const signers = keys?.map(({ text }) => text) ?? [];
  const isPossible = keys !== null && least >= 1 && least <= signers.length;
  return (
    <ActionDialog
      title={m.signers.setTitle(env)}
      command={command(props, signers.length > 0 ? signers : ["ada.pub"], least)}
      label={t.settings.save}
      disabled={!isPossible}
      run={async () => {
        await set(props, signers, least);
        return m.signers.saved(env);
      }}
      wide
    >
      <p>{m.signers.setAbout}</p>
      <TextField label={m.signers.keys} hint={keys === null ? m.signers.noKey : m.signers.keysHint} value={lines} set={setLines} lines={5} first required />
      <TextField label={m.signers.least} hint={m.signers.leastHint} value={typed} set={setTyped} max={2} pattern="[1-9][0-9]?" required />
    </ActionDialog>
  );
}

function RemoveDialog(props: SignersProps & { text: string; name: string }) {
  const { env, now, text, name } = props;
  const rest = now.signers.filter((one) => one !== text);
  const least = Math.min(now.signatures_min, rest.length);
  return (
    <ActionDialog
      title={m.signers.removeTitle}
      command={command(props, rest, least)}
      label={m.signers.remove}
      danger
      run={async () => {
        await set(props, rest, least);
        return m.signers.removed(env);
      }}
    >
      <p>
        {rest.length === 0 ? m.signers.removeLast : m.signers.removeAbout(least, rest.length)} <Outside text={name} />
      </p>
    </ActionDialog>
  );
}

export const openSigners = (props: SignersProps) => openDialog(<SetDialog {...props} />);
export const openRemoveSigner = (props: SignersProps & { text: string; name: string }) => openDialog(<RemoveDialog {...props} />);
