// The session: logging out, its end, and confirming who it is before what an app protects.
import { useRef, useState } from "preact/hooks";
import type { Challenge, Problem, Session } from "../api.ts";
import { CONFIRM, call, confirmBy, problemFrom } from "../client.ts";
import { passkeysWork, usePasskey } from "../passkeys.ts";
import { announce, sayOverBy, session } from "../state.ts";
import { t } from "../texts.ts";
import { Button, ProblemBox } from "../ui/basics.tsx";
import { closeDialog, Frame, openDialog, TextField } from "../ui/dialog.tsx";

export async function logOut(): Promise<void> {
  try {
    await call("DELETE", "/v1/session");
  } catch (error) {
    announce(problemFrom(error).detail);
    return;
  }
  // Without a session this is the login.
  location.assign("/console/");
}

interface ConfirmProps {
  end: (confirmed: boolean) => void;
}

function ConfirmDialog({ end }: ConfirmProps) {
  const account = session.value?.account ?? null;
  const hasPasskey = account !== null && (session.value?.passkeys ?? 0) > 0 && passkeysWork();
  const [secret, setSecret] = useState("");
  const [problem, setProblem] = useState<Problem | null>(null);
  const [running, setRunning] = useState(false);
  const isFinished = useRef(false);
  const finish = (confirmed: boolean) => {
    // An answer may come when the dialog was left: what is uppermost by then is another one.
    if (isFinished.current) return;
    isFinished.current = true;
    closeDialog();
    end(confirmed);
  };
  const confirm = async (body: () => Promise<object>) => {
    setRunning(true);
    setProblem(null);
    try {
      session.value = await call<Session>("POST", CONFIRM, { body: await body() });
      finish(true);
      return;
    } catch (error) {
      setProblem(problemFrom(error));
    }
    setRunning(false);
  };
  const byPasskey = async () => {
    const challenge = await call<Challenge>("POST", "/v1/session/challenge", { body: { purpose: "confirm" } });
    return { passkey: await usePasskey(challenge) };
  };
  const bySecret = async () => (account === null ? { token: secret } : { password: secret });
  return (
    <Frame title={t.confirm.title} leave={() => finish(false)}>
      <form
        class="action"
        onSubmit={(event) => {
          event.preventDefault();
          void confirm(bySecret);
        }}
      >
        <div class="body">
          <p>{t.confirm.why}</p>
          {hasPasskey && (
            <Button look="main" disabled={running} onClick={() => void confirm(byPasskey)} data-first>
              {t.confirm.passkey}
            </Button>
          )}
          <TextField
            label={account === null ? t.confirm.token : t.confirm.password(account)}
            type="password"
            complete={account === null ? "off" : "current-password"}
            value={secret}
            set={setSecret}
            first={!hasPasskey}
            required
          />
          {problem && <ProblemBox problem={problem} />}
        </div>
        <footer>
          <Button onClick={() => finish(false)}>{t.cancel}</Button>
          <Button look={hasPasskey ? "plain" : "main"} type="submit" disabled={running || secret === ""}>
            {t.confirm.label}
          </Button>
        </footer>
      </form>
    </Frame>
  );
}

/** Asks once for all calls that wait for it. */
let asking: Promise<boolean> | null = null;

export function startConfirmation(): void {
  confirmBy(() => {
    asking ??= new Promise<boolean>((resolve) => {
      openDialog(
        <ConfirmDialog
          end={(confirmed) => {
            asking = null;
            resolve(confirmed);
          }}
        />,
      );
    });
    return asking;
  });
}

function OverDialog() {
  return (
    <Frame title={t.over.title}>
      <div class="body">
        <p>{t.over.about}</p>
      </div>
      <footer>
        <Button onClick={closeDialog}>{t.close}</Button>
        <Button look="main" onClick={() => location.reload()} data-first>
          {t.over.again}
        </Button>
      </footer>
    </Frame>
  );
}

export function startOver(): void {
  sayOverBy(() => openDialog(<OverDialog />));
}
