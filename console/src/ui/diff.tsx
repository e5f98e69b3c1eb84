// What differs between two versions: the sums, what a visitor who comes back loads, and the files.
import { useState } from "preact/hooks";
import type { Diff, FileChange } from "../api.ts";
import { call, path } from "../client.ts";
import { bytes, change, count } from "../format.ts";
import { useListing, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { Fact, Id, Mark, Outside, Pending, ProblemBox, type Tone } from "./basics.tsx";
import { type Column, More, Table } from "./table.tsx";

interface Sides {
  app: string;
  from: string;
  to: string;
  env: string | null;
}

/** Files of a page of the difference. */
const PAGE = 200;
/** Files that a dialog shows. */
const FEW = 8;

function useDiff({ app, from, to, env }: Sides) {
  return useResource<Diff>(from && to ? `diff ${app} ${from} ${to} ${env}` : null, (signal) =>
    call("GET", path`/v1/apps/${app}/diff`, { query: { from, to, env, limit: PAGE }, signal }),
  );
}

function Sums({ diff }: { diff: Diff }) {
  const { added, changed, removed, same } = diff.files;
  const amount = (files: number, size: number) => t.diff.amount(files, bytes(size));
  return (
    <div class="sums">
      <dl class="facts">
        <Fact name={t.diff.added}>{amount(added.files, added.bytes)}</Fact>
        <Fact name={t.diff.changed}>{amount(changed.files, changed.bytes)}</Fact>
        <Fact name={t.diff.removed}>{amount(removed.files, removed.bytes)}</Fact>
        <Fact name={t.diff.same}>{amount(same.files, same.bytes)}</Fact>
      </dl>
      <dl class="facts">
        <Fact name={t.diff.load}>{amount(diff.visitors.load.files, diff.visitors.load.bytes)}</Fact>
        {diff.visitors.with_dictionaries !== undefined && (
          <Fact name={t.diff.dictionaries}>{bytes(diff.visitors.with_dictionaries)}</Fact>
        )}
        <Fact name={t.diff.revalidate}>{t.diff.files(diff.visitors.revalidate.files)}</Fact>
        <Fact name={t.diff.keep}>{amount(diff.visitors.keep.files, diff.visitors.keep.bytes)}</Fact>
        <Fact name={t.diff.first}>{amount(diff.visitors.first_visit.files, diff.visitors.first_visit.bytes)}</Fact>
      </dl>
    </div>
  );
}

const TONES: Record<FileChange["change"], Tone> = { added: "good", changed: "warn", removed: "bad" };

/** A size, where there is one. */
const size = (value: number | undefined) => value !== undefined && bytes(value);

const FILE_COLUMNS: Column<FileChange>[] = [
  {
    head: t.diff.file,
    class: "path",
    cell: (file) => (
      <>
        <code>
          <Outside text={file.path} />
        </code>
        {file.refingerprinted && <Mark tone="warn">{t.diff.refingerprinted}</Mark>}
      </>
    ),
  },
  { head: t.diff.what, cell: (file) => <Mark tone={TONES[file.change]}>{t.diff.kinds[file.change]}</Mark> },
  { head: t.diff.before, isFigure: true, cell: (file) => size(file.bytes_before) },
  { head: t.diff.now, isFigure: true, cell: (file) => size(file.bytes) },
  { head: t.diff.difference, isFigure: true, cell: (file) => change(file.bytes_before ?? 0, file.bytes ?? 0) },
];

function Files({ changes, caption }: { changes: FileChange[]; caption: string }) {
  return <Table name={caption} isDense columns={FILE_COLUMNS} rows={changes} rowKey={(file) => file.path} />;
}

type Served = Diff["serving"][number];

const SERVING_COLUMNS: Column<Served>[] = [
  { head: t.diff.place, cell: (one) => <Outside text={one.place} /> },
  {
    head: t.diff.key,
    cell: (one) => (
      <code>
        <Outside text={one.key} />
      </code>
    ),
  },
  { head: t.diff.before, class: "value", cell: (one) => one.before !== undefined && <Outside text={one.before} lines /> },
  { head: t.diff.now, class: "value", cell: (one) => one.now !== undefined && <Outside text={one.now} lines /> },
];

function Serving({ diff }: { diff: Diff }) {
  if (diff.serving.length === 0) return null;
  return (
    <section>
      <h3>{t.diff.serving}</h3>
      <Table name={t.diff.serving} columns={SERVING_COLUMNS} rows={diff.serving} rowKey={(one) => `${one.place} ${one.key}`} />
    </section>
  );
}

function Versions({ diff }: { diff: Diff }) {
  return (
    <p class="versions">
      <Id id={diff.from.version} /> → <Id id={diff.to.version} />
    </p>
  );
}

/** The difference in a dialog: the sums and the first files. */
export function DiffSummary(sides: Sides) {
  const diff = useDiff(sides);
  if (!diff.data) return <Pending of={diff} what={t.diff.comparing} />;
  const files = diff.data.changes.slice(0, FEW);
  const all = diff.data.files.added.files + diff.data.files.changed.files + diff.data.files.removed.files;
  return (
    <section class="difference" aria-label={t.diff.title}>
      <Versions diff={diff.data} />
      <Sums diff={diff.data} />
      {files.length > 0 && <Files changes={files} caption={t.diff.changesOf(files.length, all)} />}
      {all > files.length && <p class="faint">{t.diff.more(count(all - files.length))}</p>}
      <Serving diff={diff.data} />
    </section>
  );
}

/** The whole of it, page by page. */
export function DiffPage(sides: Sides) {
  const diff = useDiff(sides);
  const [wanted, setWanted] = useState(false);
  const next = diff.data?.next;
  const rest = useListing<FileChange>(wanted && next ? `rest ${sides.app} ${sides.from} ${sides.to} ${next}` : null, async (cursor, signal) => {
    const query = { from: sides.from, to: sides.to, env: sides.env, limit: 1000, after: cursor ?? next };
    const page = await call<Diff>("GET", path`/v1/apps/${sides.app}/diff`, { query, signal });
    return { items: page.changes, next: page.next };
  });
  if (!diff.data) return <Pending of={diff} what={t.diff.comparing} />;
  const changes = [...diff.data.changes, ...rest.items];
  const has = wanted ? rest.hasMore : next !== undefined;
  return (
    <section aria-label={t.diff.title}>
      <Versions diff={diff.data} />
      <Sums diff={diff.data} />
      {changes.length > 0 ? (
        <Files changes={changes} caption={t.diff.changes} />
      ) : (
        <Mark tone="good">{t.diff.equal}</Mark>
      )}
      {rest.problem && <ProblemBox problem={rest.problem} again={rest.reload} />}
      <More of={{ hasMore: has, loading: wanted && rest.loading, more: () => (wanted ? rest.more() : setWanted(true)) }} />
      <Serving diff={diff.data} />
    </section>
  );
}
