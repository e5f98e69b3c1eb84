// Previews: a lasting name for a version, and an address to pass on.
import { useState } from "preact/hooks";
import type { Place } from "../api.ts";
import { devanture } from "../command.ts";
import { call, path } from "../client.ts";
import { shortId } from "../format.ts";
import { protectsPreviews, useProtection } from "../protection.ts";
import { go, to } from "../router.ts";
import { announce } from "../state.ts";
import { t } from "../texts.ts";
import { Away, Button, Copy, Id, Mark } from "../ui/basics.tsx";
import { ActionDialog, Choice, closeDialog, Frame, openDialog, TextField } from "../ui/dialog.tsx";

const ENDS = ["1d", "7d", "14d", "30d", "never"];

interface ShareProps {
  app: string;
  version: string;
  url: string;
}

/** The address of a version's preview; with a name it lasts, and can be moved to a later version. */
function ShareDialog({ app, version, url }: ShareProps) {
  const [name, setName] = useState("");
  const [ends, setEnds] = useState("14d");
  const [made, setMade] = useState<Place | null>(null);
  if (made) {
    return (
      <Frame title={t.share.done(made.name)}>
        <div class="body">
          <Address url={made.url} />
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
      title={t.share.title}
      command={devanture("alias", "set", name.trim() || "demo", shortId(version), ["--app", app], ["--expires", ends])}
      label={t.share.name}
      disabled={name.trim() === ""}
      done={() => {}}
      run={async () => {
        const where = path`/v1/apps/${app}/aliases/${name.trim()}`;
        const place = await call<Place>("PUT", where, { body: { version, expires: ends } });
        setMade(place);
      }}
    >
      <p>
        {t.share.about} <Id id={version} />
      </p>
      <Address url={url} />
      <Protected app={app} />
      <p>{t.share.lasting}</p>
      <TextField
        label={t.share.alias}
        hint={t.share.aliasHint}
        value={name}
        set={setName}
        max={20}
        pattern="[a-z0-9]+(-[a-z0-9]+)*"
        first
      />
      <Choice label={t.share.ends} value={ends} set={setEnds} options={ENDS.map((value) => ({ value, text: t.share.lasts(value) }))} />
    </ActionDialog>
  );
}

/** That the address is not enough, where previews are protected: links of their own open them. */
function Protected({ app }: { app: string }) {
  const mode = protectsPreviews(useProtection(app).data?.protections ?? []);
  if (mode === null) return null;
  const leave = () => {
    closeDialog();
    go(to("protection", { app }));
  };
  return (
    <div>
      <Mark tone="warn">{mode === "off" ? t.share.off : t.share.protected}</Mark>{" "}
      <Button look="quiet" onClick={leave}>
        {t.share.links}
      </Button>
    </div>
  );
}

function Address({ url }: { url: string }) {
  const pass = async () => {
    try {
      await navigator.share({ url });
    } catch {
      announce(t.notCopied);
    }
  };
  return (
    <div class="command address">
      <Away href={url} />
      <Copy text={url} label={t.share.copy} />
      {"share" in navigator && (
        <Button look="quiet" onClick={() => void pass()}>
          {t.share.pass}
        </Button>
      )}
    </div>
  );
}

function EndAliasDialog({ app, place }: { app: string; place: Place }) {
  return (
    <ActionDialog
      title={t.previews.endTitle(place.name)}
      command={devanture("alias", "delete", place.name, ["--app", app])}
      label={t.previews.end}
      danger
      run={async () => {
        await call("DELETE", path`/v1/apps/${app}/aliases/${place.name}`);
        return t.previews.ended(place.name);
      }}
    >
      <p>{t.previews.endAbout}</p>
    </ActionDialog>
  );
}

export const openShare = (props: ShareProps) => openDialog(<ShareDialog {...props} />);
export const openEndAlias = (app: string, place: Place) => openDialog(<EndAliasDialog app={app} place={place} />);
