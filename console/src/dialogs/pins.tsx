// The release of visitors who are held on earlier versions.
import type { InApp } from "../api.ts";
import type { Unpinned } from "../api_more.ts";
import { at, devanture } from "../command.ts";
import { call, placePath } from "../client.ts";
import { shortId } from "../format.ts";
import { m } from "../texts_more.ts";
import { ActionDialog, openDialog } from "../ui/dialog.tsx";

interface UnpinProps extends InApp {
  /** What is live. */
  live: string | null;
  /** The earlier versions. */
  pinned: string[];
}

function UnpinDialog({ app, env, live, pinned }: UnpinProps) {
  return (
    <ActionDialog
      title={m.pins.releaseTitle(env)}
      command={devanture("unpin", ...at(app, env))}
      label={m.pins.release}
      danger
      run={async () => {
        const { versions } = await call<Unpinned>("DELETE", placePath(app, env, "pins"));
        return versions.length > 0 ? m.pins.released(env, versions.length) : m.pins.releasedNone(env);
      }}
    >
      <p>
        {m.pins.releaseAbout(shortId(live ?? ""))} <code>{pinned.map(shortId).join(", ")}</code>.
      </p>
    </ActionDialog>
  );
}

export const openUnpin = (props: UnpinProps) => openDialog(<UnpinDialog {...props} />);
