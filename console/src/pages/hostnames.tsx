// Hostnames of an environment, and how DNS proves that one may be taken, step by step.
import { useEffect, useRef, useState } from "preact/hooks";
import type { HostnameList, HostnameStatus, InApp, Problem } from "../api.ts";
import { at, devanture } from "../command.ts";
import { call, placePath, problemFrom } from "../client.ts";
import { type DnsRecord, recordsOf } from "../dns_record.ts";
import { toneOfCertificate } from "../health.ts";
import { visible } from "../outside_text.ts";
import { type Proof, proofOf } from "../proof.ts";
import { now, rights, useListing } from "../state.ts";
import { t } from "../texts.ts";
import { m } from "../texts_more.ts";
import { Away, Beside, Button, Copy, Empty, Fact, Mark, Opens, Outside, Pending, ProblemBox, When } from "../ui/basics.tsx";
import { ActionDialog, Check, openDialog, TextField } from "../ui/dialog.tsx";
import { AppFrame, chosenEnvironment, useApp, useTitle } from "../ui/frame.tsx";
import { type Column, Listed, Table } from "../ui/table.tsx";

/** How often DNS is looked at while a proof is waited for. */
const CHECK_MS = 15_000;

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

interface Checked {
  /** Whether nothing more is needed. */
  proven: boolean;
  proof: Proof | null;
  problem: Problem | null;
}

const UNCHECKED: Checked = { proven: false, proof: null, problem: null };

/** Whether a hostname could be added, and what it needs for that: looked at again while a proof is waited for. */
function useProof(name: string, where: string, body: object) {
  const [found, setFound] = useState<Checked>(UNCHECKED);
  const [checking, setChecking] = useState(false);
  const latest = useRef(name);
  latest.current = name;
  const take = (problem: Problem | null) => {
    const proof = proofOf(problem);
    setFound({ proven: problem === null, proof, problem: proof ? null : problem });
  };
  const check = async () => {
    setChecking(true);
    const problem = await call("PUT", where, { query: { dry_run: true }, body }).then(() => null, problemFrom);
    setChecking(false);
    // An answer about another name than is there by now is no answer.
    if (latest.current === name) take(problem);
  };
  useEffect(() => {
    if (!found.proof) return;
    const timer = setInterval(() => {
      if (!document.hidden) void check();
    }, CHECK_MS);
    return () => clearInterval(timer);
  }, [found.proof?.value]);
  return { ...found, checking, check: () => void check(), take, forget: () => setFound(UNCHECKED) };
}

function AddDialog({ app, env }: InApp) {
  const [typed, setTyped] = useState("");
  const [canonical, setCanonical] = useState(false);
  const name = typed.trim();
  const where = placePath(app, env, "hostnames", name);
  const body = canonical ? { canonical } : {};
  const { proven, proof, problem, checking, check, take, forget } = useProof(name, where, body);
  return (
    <ActionDialog
      title={t.hostnames.addTitle(env)}
      command={devanture("hostnames", "add", name || "www.example.org", ...at(app, env), canonical && "--canonical")}
      label={t.hostnames.addLabel}
      disabled={name === ""}
      run={async () => {
        try {
          await call("PUT", where, { body });
        } catch (error) {
          // The dialog shows the problem itself.
          if (proofOf(problemFrom(error))) take(problemFrom(error));
          throw error;
        }
        return t.hostnames.added(name);
      }}
    >
      <TextField
        label={t.hostnames.name}
        hint={t.hostnames.nameHint}
        value={typed}
        set={(value) => {
          setTyped(value);
          forget();
        }}
        max={260}
        first
        required
      />
      <Check label={t.hostnames.canonical} value={canonical} set={setCanonical} />
      {!proof && !proven && (
        <p>
          <Button onClick={check} disabled={checking || name === ""}>
            {checking ? t.hostnames.checking : t.hostnames.look}
          </Button>
        </p>
      )}
      {proven && <Mark tone="good">{t.hostnames.proven}</Mark>}
      {proof && <Steps proof={proof} checking={checking} check={check} />}
      {problem && <ProblemBox problem={problem} />}
    </ActionDialog>
  );
}

function RemoveDialog({ app, env, name }: InApp & { name: string }) {
  return (
    <ActionDialog
      title={t.hostnames.removeTitle}
      command={devanture("hostnames", "remove", name, ...at(app, env))}
      label={t.hostnames.remove}
      danger
      run={async () => {
        await call("DELETE", placePath(app, env, "hostnames", name));
        return t.hostnames.removed(name);
      }}
    >
      <p>
        {t.hostnames.removeAbout} <Outside text={name} />
      </p>
    </ActionDialog>
  );
}

function CanonicalDialog({ app, env, name }: InApp & { name: string }) {
  return (
    <ActionDialog
      title={t.hostnames.canonicalTitle}
      command={devanture("hostnames", "add", name, ...at(app, env), "--canonical")}
      label={t.hostnames.makeCanonical}
      run={async () => {
        await call("PUT", placePath(app, env, "hostnames", name), { body: { canonical: true } });
        return t.hostnames.isCanonical(name);
      }}
    >
      <p>
        {t.hostnames.canonicalAbout} <Outside text={name} />
      </p>
    </ActionDialog>
  );
}

function Name({ host }: { host: HostnameStatus }) {
  return (
    <>
      {host.url ? (
        <Away href={host.url}>
          <Outside text={host.name} />
        </Away>
      ) : (
        <Outside text={host.name} />
      )}
      {host.unicode !== host.name && <Beside text={host.unicode} />}
    </>
  );
}

function State({ host }: { host: HostnameStatus }) {
  if (host.canonical) return <Mark tone="good">{t.hostnames.isTheOne}</Mark>;
  if (!host.redirects_to) return <Mark tone="good">{t.hostnames.serves}</Mark>;
  return (
    <Mark tone="idle">
      {t.hostnames.redirects} <Outside text={host.redirects_to} />
    </Mark>
  );
}

function Certificate({ of }: { of: HostnameStatus["certificate"] }) {
  if (!of) return <span class="faint">{t.hostnames.localCertificate}</span>;
  return (
    <Mark tone={toneOfCertificate(of.expires_ms, now.value)}>
      {t.hostnames.certificateOf[of.source]}, {of.expires_ms <= now.value ? t.hostnames.ended : t.hostnames.ends} <When at={of.expires_ms} />
    </Mark>
  );
}

function Actions({ app, env, host }: InApp & { host: HostnameStatus }) {
  const place = { app, env, name: host.name };
  return (
    <div class="actions">
      {!host.canonical && !host.name.startsWith("*") && (
        <Opens label={t.hostnames.makeCanonical} of={host.name} open={() => openDialog(<CanonicalDialog {...place} />)} />
      )}
      <Opens label={t.hostnames.remove} of={host.name} open={() => openDialog(<RemoveDialog {...place} />)} />
    </div>
  );
}

const RECORD_COLUMNS: Column<DnsRecord>[] = [
  {
    head: m.records.name,
    isName: true,
    cell: (record) => (
      <code>
        <Outside text={record.name} />
      </code>
    ),
  },
  { head: m.records.type, cell: (record) => record.type },
  { head: m.records.ttl, isFigure: true, cell: (record) => record.ttl },
  {
    head: m.records.value,
    class: "value",
    cell: (record) => (
      <code>
        <Outside text={record.value} />
      </code>
    ),
  },
  { head: t.actions, cell: (record) => <Copy text={record.line} label={m.records.copy(visible(record.name))} /> },
];

/** The records by which browsers come by HTTP/3 at once; none where the edge does not serve it. */
function Records({ hosts }: { hosts: HostnameStatus[] }) {
  const records = recordsOf(hosts);
  if (records.length === 0) return null;
  return (
    <section class="below" aria-labelledby="dns-records">
      <h2 id="dns-records">{m.records.title}</h2>
      <p class="faint about">{m.records.about}</p>
      <Table name={m.records.title} columns={RECORD_COLUMNS} rows={records} rowKey={(record) => record.line} />
      {records.length > 1 && (
        <div class="actions">
          <Copy text={records.map((record) => `${record.line}\n`).join("")} label={m.records.copyAll} />
        </div>
      )}
    </section>
  );
}

export function HostnamesPage({ app }: { app: string }) {
  useTitle(t.tabs.hostnames, app);
  const info = useApp(app);
  const env = chosenEnvironment(info.data);
  const list = useListing<HostnameStatus>(env ? `hostnames ${app} ${env}` : null, async (cursor, signal) => {
    const where = placePath(app, env ?? "", "hostnames");
    const page = await call<HostnameList>("GET", where, { query: { limit: 200, after: cursor }, signal });
    return { items: page.hostnames, next: page.next };
  });
  const mayChange = env !== null && rights.value.can("changeHostnames", app, env);
  const columns: (Column<HostnameStatus> | false)[] = [
    { head: t.hostnames.name, isName: true, cell: (host) => <Name host={host} /> },
    { head: t.hostnames.state, cell: (host) => <State host={host} /> },
    {
      head: t.hostnames.source,
      cell: (host) => `${t.hostnames.sources[host.source]} ${host.source === "manifest" && !host.listed ? t.hostnames.unlisted : ""}`,
    },
    { head: t.hostnames.certificate, cell: (host) => <Certificate of={host.certificate} /> },
    mayChange && { head: t.actions, cell: (host) => <Actions app={app} env={env} host={host} /> },
  ];
  return (
    <AppFrame app={app} info={info.data} env={env}>
      <Pending of={info} />
      {env && mayChange && (
        <div class="toolbar end">
          <Opens look="main" label={t.hostnames.addLabel} open={() => openDialog(<AddDialog app={app} env={env} />)} />
        </div>
      )}
      <Listed
        of={list}
        none={
          <Empty title={t.hostnames.none}>
            <p>{t.hostnames.noneAbout}</p>
          </Empty>
        }
      >
        {(items) => (
          <>
            <Table name={t.tabs.hostnames} columns={columns} rows={items} rowKey={(host) => host.name} />
            <Records hosts={items} />
          </>
        )}
      </Listed>
      <p class="faint below">{t.hostnames.certificates}</p>
    </AppFrame>
  );
}
