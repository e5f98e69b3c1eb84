// A dialog with a secret at the only time that it is shown: it is not closed by a slip.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { t } from "../texts.ts";
import { Button, Copy, Outside } from "./basics.tsx";
import { closeDialog, Frame } from "./dialog.tsx";

interface ShownOnceProps {
  title: string;
  /** What it is, and where it belongs. */
  about: string;
  secret: string;
  /** What is read out for it. */
  named: string;
  copy: string;
  children?: ComponentChildren;
}

export function ShownOnce({ title, about, secret, named, copy, children }: ShownOnceProps) {
  const [asks, setAsks] = useState(false);
  return (
    <Frame title={title} leave={() => setAsks(true)}>
      <div class="body">
        <p>{about}</p>
        <div class="command">
          <code class="secret" tabIndex={0} aria-label={named}>
            <Outside text={secret} />
          </code>
          <Copy text={secret} label={copy} />
        </div>
        {children}
        {asks && (
          <div class="question" role="alertdialog" aria-label={t.token.closeQuestion}>
            <p>
              <strong>{t.token.closeQuestion}</strong>
            </p>
            <Button look="danger" onClick={closeDialog}>
              {t.token.closeIt}
            </Button>
            <Button look="plain" onClick={() => setAsks(false)}>
              {t.token.keepIt}
            </Button>
          </div>
        )}
      </div>
      <footer>
        <Button look="main" onClick={closeDialog} data-first>
          {t.token.kept}
        </Button>
      </footer>
    </Frame>
  );
}
