// Hostnames of an environment, and how DNS proves that one may be taken, step by step.
import { useEffect, useState } from "preact/hooks";
import type { HostnameList, HostnameStatus, Problem } from "../api.ts";
import { at, devanture } from "../command.ts";
import { call, path, problemFrom } from "../client.ts";
import { type Proof, proofOf } from "../proof.ts";
import { rights, useListing } from "../state.ts";
import { t } from "../texts.ts";
import { Away, Button, Copy, Empty, Fact, Mark, Outside, Pending, ProblemBox } from "../ui/basics.tsx";
import { ActionDialog, Check, openDialog, TextField } from "../ui/dialog.tsx";
import { AppFrame, chosenEnvironment, useApp, useTitle } from "../ui/frame.tsx";

/** How often DNS is looked at while a proof is waited for. */
const CHECK_MS = 15_000;

interface Place {
  app: string;
  env: string;
}

function Steps({ proof, checking, check }: { proof: Proof; checking: boolean; check: () => void }) {
  const rows: [string, string][] = [
    [t.hostnames.recordName, proof.name],
    [t.hostnames.recordType, proof.type],
    [t.hostnames.recordValue, proof.value],
  ];
  return (
    <ol class="proof">
      <li>
        <p>{t.hostnames.create}</p>
        <dl class="facts record">
          {rows.map(([name, value]) => (
            <Fact key={name} name={name}>
              <code>
                <Outside text={value} />
              </code>{" "}
              <Copy text={value} label={`${t.copy}: ${name}`} />
            </Fact>
          ))}
        </dl>
      </li>
      <li>
        <p>{t.hostnames.wait}</p>
        <p role="status">
          <Mark tone="busy">{checking ? t.hostnames.checking : t.hostnames.notYet}</Mark>{" "}
          <Button onClick={check} disabled={checking}>
            {t.hostnames.checkNow}
          </Button>
        </p>
      </li>
      <li>
        <p class="faint">{t.hostnames.add}</p>
      </li>
    </ol>
  );
}

function AddDialog({ app, env }: Place) {
  const [name, setName] = useState("");
  const [canonical, setCanonical] = useState(false);
  const [proof, setProof] = useState<Proof | null>(null);
  const [proven, setProven] = useState(false);
  const [checking, setChecking] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const where = path`/v1/apps/${app}/environments/${env}/hostnames/${name.trim()}`;
  const body = canonical ? { canonical } : {};
  const check = async () => {
    setChecking(true);
    try {
      await call("PUT", where, { query: { dry_run: true }, body });
      setProven(true);
      setProof(null);
      setProblem(null);
    } catch (error) {
      const found = problemFrom(error);
      const needed = proofOf(found);
      setProof(needed);
      setProblem(needed ? null : found);
    }
    setChecking(false);
  };
  useEffect(() => {
    if (!proof) return;
    const timer = setInterval(() => {
      if (!document.hidden) void check();
    }, CHECK_MS);
    return () => clearInterval(timer);
  }, [proof?.value]);
  return (
    <ActionDialog
      title={t.hostnames.addTitle(env)}
      command={devanture("hostnames", "add", name.trim() || "www.example.org", ...at(app, env), canonical && "--canonical")}
      label={t.hostnames.addLabel}
      disabled={name.trim() === ""}
      run={async () => {
        try {
          await call("PUT", where, { body });
        } catch (error) {
          const needed = proofOf(problemFrom(error));
          if (needed) {
            setProof(needed);
            setProven(false);
          }
          throw error;
        }
        return t.hostnames.added(name.trim());
      }}
    >
      <TextField
        label={t.hostnames.name}
        hint={t.hostnames.nameHint}
        value={name}
        set={(value) => {
          setName(value);
          setProof(null);
          setProven(false);
        }}
        max={260}
        first
        required
      />
      <Check label={t.hostnames.canonical} value={canonical} set={setCanonical} />
      {!proof && !proven && (
        <p>
          <Button onClick={() => void check()} disabled={checking || name.trim() === ""}>
            {checking ? t.hostnames.checking : t.hostnames.look}
          </Button>
        </p>
      )}
      {proven && <Mark tone="good">{t.hostnames.proven}</Mark>}
      {proof && <Steps proof={proof} checking={checking} check={() => void check()} />}
      {problem && <ProblemBox problem={problem} />}
    </ActionDialog>
  );
}

function RemoveDialog({ app, env, name }: Place & { name: string }) {
  return (
    <ActionDialog
      title={t.hostnames.removeTitle}
      command={devanture("hostnames", "remove", name, ...at(app, env))}
      label={t.hostnames.remove}
      danger
      run={async () => {
        await call("DELETE", path`/v1/apps/${app}/environments/${env}/hostnames/${name}`);
        return t.hostnames.removed(name);
      }}
    >
      <p>
        {t.hostnames.removeAbout} <Outside text={name} />
      </p>
    </ActionDialog>
  );
}

function CanonicalDialog({ app, env, name }: Place & { name: string }) {
  return (
    <ActionDialog
      title={t.hostnames.canonicalTitle}
      command={devanture("hostnames", "add", name, ...at(app, env), "--canonical")}
      label={t.hostnames.makeCanonical}
      run={async () => {
        await call("PUT", path`/v1/apps/${app}/environments/${env}/hostnames/${name}`, { body: { canonical: true } });
        return t.hostnames.isCanonical(name);
      }}
    >
      <p>
        {t.hostnames.canonicalAbout} <Outside text={name} />
      </p>
    </ActionDialog>
  );
}

export function HostnamesPage({ app }: { app: string }) {
  useTitle(t.tabs.hostnames, app);
  const info = useApp(app);
  const env = chosenEnvironment(info.data);
  const list = useListing<HostnameStatus>(env ? `hostnames ${app} ${env}` : null, async (cursor, signal) => {
    const where = path`/v1/apps/${app}/environments/${env ?? ""}/hostnames`;
    const page = await call<HostnameList>("GET", where, { query: { limit: 200, after: cursor }, signal });
    return { items: page.hostnames, next: page.next };
  });
  const mayChange = env !== null && rights.value.may("push", app, env);
  return (
    <AppFrame app={app} info={info.data} env={env}>
      <Pending of={info} />
      {list.problem && <ProblemBox problem={list.problem} again={list.reload} />}
      <div class="toolbar">
        {env && mayChange && (
          <Button look="main" onClick={() => openDialog(<AddDialog app={app} env={env} />)}>
            {t.hostnames.addLabel}…
          </Button>
        )}
      </div>
      {!list.loading && list.items.length === 0 && !list.problem && (
        <Empty title={t.hostnames.none}>
          <p>{t.hostnames.noneAbout}</p>
        </Empty>
      )}
      {list.items.length > 0 && (
        <div class="scroll" tabIndex={0} role="group" aria-label={t.tabs.hostnames}>
          <table>
            <thead>
              <tr>
                <th scope="col">{t.hostnames.name}</th>
                <th scope="col">{t.hostnames.state}</th>
                <th scope="col">{t.hostnames.source}</th>
                <th scope="col">{t.actions}</th>
              </tr>
            </thead>
            <tbody>
              {list.items.map((host) => (
                <tr key={host.name}>
                  <th scope="row">
                    {host.url ? (
                      <Away href={host.url}>
                        <Outside text={host.name} />
                      </Away>
                    ) : (
                      <Outside text={host.name} />
                    )}
                    {host.unicode !== host.name && (
                      <span class="faint">
                        {" "}
                        <Outside text={host.unicode} />
                      </span>
                    )}
                  </th>
                  <td>
                    {host.canonical ? (
                      <Mark tone="good">{t.hostnames.isTheOne}</Mark>
                    ) : host.redirects_to ? (
                      <Mark tone="idle">
                        {t.hostnames.redirects} <Outside text={host.redirects_to} />
                      </Mark>
                    ) : (
                      <Mark tone="good">{t.hostnames.serves}</Mark>
                    )}
                  </td>
                  <td>
                    {t.hostnames.sources[host.source]}
                    {host.source === "manifest" && !host.listed && ` ${t.hostnames.unlisted}`}
                  </td>
                  <td>
                    {env && mayChange && (
                      <div class="actions">
                        {!host.canonical && !host.name.startsWith("*") && (
                          <Button onClick={() => openDialog(<CanonicalDialog app={app} env={env} name={host.name} />)}>
                            {t.hostnames.makeCanonical}…
                          </Button>
                        )}
                        <Button onClick={() => openDialog(<RemoveDialog app={app} env={env} name={host.name} />)}>
                          {t.hostnames.remove}…
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
      {list.hasMore && <Button onClick={list.more}>{t.more}</Button>}
      <p class="faint">{t.hostnames.certificates}</p>
    </AppFrame>
  );
}
