// A preview in a frame, in three widths; and what stands in its place where a frame would stay empty.
import { useState } from "preact/hooks";
import { openShareLink } from "../dialogs/protection.tsx";
import { safeLink, visible } from "../outside_text.ts";
import { PREVIEWS, protectsPreviews, useProtection } from "../protection.ts";
import { to } from "../router.ts";
import { rights } from "../state.ts";
import { t } from "../texts.ts";
import { m } from "../texts_more.ts";
import { Away, Button, Empty, Opens, Outside } from "./basics.tsx";
import { isDialogOpen } from "./dialog.tsx";

const WIDTHS: [name: keyof typeof t.previews.widths, pixels: number][] = [
  ["phone", 390],
  ["tablet", 820],
  ["wide", 1280],
];

/** What a preview is, wherever it comes from. */
export interface Shown {
  name: string;
  version: string;
  url: string;
  /** Whether it is an alias, which share links open whatever it points to. */
  alias?: boolean;
}

/** A preview that its visitors have to log in for: the page that asks for it is in no frame, so that none is shown empty. */
function Protected({ app, shown, mode }: { app: string; shown: Shown; mode: string }) {
  const mayShare = mode !== "off" && rights.value.can("shareLinks", app, PREVIEWS);
  return (
    <Empty title={m.framed.protected}>
      <p>{m.framed.about[mode]}</p>
      <div class="actions">
        {mode !== "off" && <Away href={shown.url}>{m.framed.open}</Away>}
        {mayShare && (
          <Opens
            look="main"
            label={m.framed.link}
            of={shown.name}
            open={() => openShareLink({ app, environments: [], target: shown.alias ? shown.name : shown.version })}
          />
        )}
        <a href={to("protection", { app })}>{m.framed.change}</a>
      </div>
    </Empty>
  );
}

/**
 * A frame of the preview. It is of another origin, which it keeps, as modules and storage of a page need it; it can neither
 * leave the frame nor open a window. What would be of the console's own origin is not framed. While a dialog is open there
 * is no frame: its page could take the focus from a field of the dialog, also where it is inert or hidden, and read a password.
 */
function Framed({ shown, width }: { shown: Shown; width: number }) {
  const address = foreign(safeLink(shown.url));
  return (
    <>
      <div class="frame-scroll" tabIndex={0} role="group" aria-label={t.previews.frameOf(visible(shown.name))}>
        {address && !isDialogOpen.value && (
          <iframe
            src={address}
            title={t.previews.frameOf(visible(shown.name))}
            sandbox="allow-scripts allow-same-origin"
            referrerpolicy="no-referrer"
            style={{ width: `${width}px` }}
          />
        )}
      </div>
      <p class="faint">{t.previews.sandboxed}</p>
    </>
  );
}

export function PreviewFrame({ app, shown, close }: { app: string; shown: Shown; close: () => void }) {
  const [width, setWidth] = useState<number>(1280);
  const list = useProtection(app);
  const protections = list.data?.protections ?? [];
  const mode = protectsPreviews(protections);
  // A right to one environment alone says nothing of previews, nor does an edge of an earlier release.
  const isUnknown = !protections.some(({ environment }) => environment === PREVIEWS);
  return (
    <section class="preview-frame" aria-label={t.previews.frameOf(visible(shown.name))}>
      <header>
        <strong>
          <Outside text={shown.name} />
        </strong>
        <Away href={shown.url} />
        {mode === null && (
          <span class="segments" role="group" aria-label={t.previews.width}>
            {WIDTHS.map(([name, pixels]) => (
              <Button key={name} look="quiet" aria-pressed={width === pixels} onClick={() => setWidth(pixels)}>
                {t.previews.widths[name]}
              </Button>
            ))}
          </span>
        )}
        <Button look="quiet" onClick={close}>
          {t.close}
        </Button>
      </header>
      {list.data === null && list.problem === null ? (
        <p class="pending" aria-busy="true">
          {t.loading}
        </p>
      ) : mode !== null ? (
        <Protected app={app} shown={shown} mode={mode} />
      ) : (
        <>
          <Framed shown={shown} width={width} />
          {isUnknown && <p class="faint">{m.framed.unknown}</p>}
        </>
      )}
    </section>
  );
}

/** The address, if it is of another origin than the console: a frame of its own origin could leave the sandbox. */
function foreign(address: string | undefined): string | undefined {
  return address && new URL(address).origin !== location.origin ? address : undefined;
}
