// Signed versions: whose signatures an environment wants, and the log of what was live in it.
import { useEffect, useState } from "preact/hooks";
import type { InApp, Page } from "../api.ts";
import type { LiveLogEntry, Signers } from "../api_more.ts";
import { at, devanture } from "../command.ts";
import { call, placePath, problemFrom } from "../client.ts";
import { openRemoveSigner, openSigners } from "../dialogs/signing.tsx";
import { exact, shortId } from "../format.ts";
import { type Ask, brokenOf, exported, newest } from "../live_log.ts";
import { visible } from "../outside_text.ts";
import { fingerprintOf, keyOf, type SignerKey } from "../signer_keys.ts";
import { announce, rights, useListing, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { m } from "../texts_more.ts";
import { Button, By, Copy, Empty, Fact, Id, Mark, Opens, Outside, Pending, SameByCommand, When } from "../ui/basics.tsx";
import { AppFrame, chosenEnvironment, useApp, useTitle } from "../ui/frame.tsx";
import { type Column, Listed, Loaded, Table } from "../ui/table.tsx";

/** A signer with what it is called. */
interface Row {
  text: string;
  key: SignerKey | null;
  fingerprint: string;
}

/** The signers with their fingerprints, which are computed here. */
function useRows(signers: string[] | undefined): Row[] {
  const [rows, setRows] = useState<Row[]>([]);
  const all = signers?.join("\n") ?? "";
  useEffect(() => {
    let isOver = false;
    const row = async (text: string): Promise<Row> => {
      const key = keyOf(text);
      return { text, key, fingerprint: key ? await fingerprintOf(key).catch(() => "") : "" };
    };
    void Promise.all(all.split("\n").filter(Boolean).map(row)).then((found) => {
      if (!isOver) setRows(found);
    });
    return () => {
      isOver = true;
    };
  }, [all]);
  return rows;
}

const nameOf = (row: Row) => row.key?.comment || row.fingerprint || row.text;

function Live({ signed }: { signed: NonNullable<Signers["live"]> }) {
  return (
    <Fact name={m.signers.live}>
      <Mark tone={signed.is_enough ? "good" : "warn"}>{m.signers.liveHas(signed.signed_by.length, signed.signatures_min)}</Mark>
      {signed.signed_by.length > 0 && (
        <>
          {" "}
          <Outside text={signed.signed_by.join(", ")} />
        </>
      )}
    </Fact>
  );
}

function Wanted({ app, env, data, rows }: InApp & { data: Signers; rows: Row[] }) {
  const mayChange = rights.value.can("changeSigners", app, env);
  const place = { app, env, now: data };
  const columns: (Column<Row> | false)[] = [
    { head: m.signers.signer, isName: true, cell: (row) => <Outside text={nameOf(row)} /> },
    {
      head: m.signers.fingerprint,
      cell: (row) =>
        row.fingerprint && (
          <code>
            <Outside text={row.fingerprint} />
          </code>
        ),
    },
    { head: m.signers.signedLive, cell: (row) => data.live?.signed_by.some((one) => row.fingerprint !== "" && one.includes(row.fingerprint)) && <Mark tone="good">{m.signers.yes}</Mark> },
    {
      head: t.actions,
      cell: (row) => (
        <div class="actions">
          <Copy text={row.text} label={m.signers.copy(visible(nameOf(row)))} />
          {mayChange && <Opens label={m.signers.remove} of={nameOf(row)} open={() => openRemoveSigner({ ...place, text: row.text, name: nameOf(row) })} />}
        </div>
      ),
    },
  ];
  return (
    <>
      <div class="toolbar">
        <h2 id="signers">{m.signers.title}</h2>
        {mayChange && <Opens look="main" label={m.signers.set} open={() => openSigners(place)} />}
      </div>
      {data.signers.length === 0 ? (
        <Empty title={m.signers.none}>
          <p>{m.signers.about}</p>
        </Empty>
      ) : (
        <>
          <dl class="facts">
            <Fact name={m.signers.wanted}>
              {m.signers.of(data.signatures_min, data.signers.length)}{" "}
              <span class="faint">
                <When at={data.at_ms} />
                <By who={data.who} />
              </span>
            </Fact>
            {data.live && <Live signed={data.live} />}
          </dl>
          <Table name={m.signers.title} columns={columns} rows={rows} rowKey={(row) => row.text} />
        </>
      )}
    </>
  );
}

/** Gives a text to the person as a file. */
function save(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function Export({ app, env, ask }: InApp & { ask: Ask }) {
  const [running, setRunning] = useState(false);
  const run = async () => {
    setRunning(true);
    try {
      save(`${app}-${env}-live-log.ndjson`, await exported(ask));
    } catch (error) {
      announce(problemFrom(error).detail);
    }
    setRunning(false);
  };
  return (
    <Button onClick={() => void run()} disabled={running}>
      {running ? t.underWay : m.liveLog.export}
    </Button>
  );
}

function columnsOf(broken: Set<number>, rows: Row[]): Column<LiveLogEntry>[] {
  const name = (fingerprint: string) => rows.find((row) => row.fingerprint === fingerprint)?.key?.comment || fingerprint;
  return [
    { head: m.liveLog.number, isName: true, cell: (entry) => String(entry.number) },
    { head: t.deploys.at, cell: (entry) => exact(entry.at_ms) },
    { head: t.apps.version, cell: (entry) => <Id id={entry.version} /> },
    {
      head: m.liveLog.how,
      cell: (entry) => (
        <>
          {t.kinds[entry.kind as keyof typeof t.kinds] ?? entry.kind}
          {entry.kind === "change" ? ` (${entry.deploy})` : ""}
          <By who={entry.who} />
        </>
      ),
    },
    { head: m.liveLog.signedBy, cell: (entry) => entry.signed_by.length > 0 && <Outside text={entry.signed_by.map(name).join(", ")} /> },
    {
      head: m.liveLog.hash,
      cell: (entry) => (
        <>
          <code class="id" title={entry.hash}>
            <Outside text={shortId(entry.hash)} />
          </code>
          {broken.has(entry.number) && (
            <>
              {" "}
              <Mark tone="bad">{m.liveLog.broken}</Mark>
            </>
          )}
        </>
      ),
    },
  ];
}

function LiveLog({ app, env, rows }: InApp & { rows: Row[] }) {
  const where = placePath(app, env, "live-log");
  const ask = (after: number | null, limit: number, signal?: AbortSignal) =>
    call<Page<"entries", LiveLogEntry>>("GET", where, { query: { after, limit }, ...(signal ? { signal } : {}) });
  const list = useListing<LiveLogEntry>(`live log ${app} ${env}`, (cursor, signal) => newest((after, limit) => ask(after, limit, signal), cursor));
  const columns = columnsOf(brokenOf(list.items), rows);
  return (
    <section aria-labelledby="live-log">
      <div class="toolbar">
        <h2 id="live-log">{m.liveLog.title}</h2>
        {list.items.length > 0 && <Export app={app} env={env} ask={ask} />}
      </div>
      <p class="faint about">{m.liveLog.about}</p>
      <Listed of={list} none={m.liveLog.none}>
        {(entries) => <Table name={m.liveLog.title} columns={columns} rows={entries} rowKey={(entry) => entry.number} />}
      </Listed>
      <SameByCommand text={`${devanture("live-log", ...at(app, env), "--export")} > log.ndjson`} />
    </section>
  );
}

function Signing({ app, env }: InApp) {
  const signers = useResource<Signers>(`signers ${app} ${env}`, (signal) => call("GET", placePath(app, env, "signers"), { signal }));
  const rows = useRows(signers.data?.signers);
  return (
    <>
      <section aria-labelledby="signers">
        <Loaded of={signers}>{(data) => <Wanted app={app} env={env} data={data} rows={rows} />}</Loaded>
      </section>
      <LiveLog app={app} env={env} rows={rows} />
    </>
  );
}

export function SigningPage({ app }: { app: string }) {
  useTitle(t.tabs.signing, app);
  const info = useApp(app);
  const env = chosenEnvironment(info.data);
  return (
    <AppFrame app={app} info={info.data} env={env}>
      <Pending of={info} />
      {env && <Signing key={env} app={app} env={env} />}
    </AppFrame>
  );
}
