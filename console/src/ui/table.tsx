// Tables and lists: what they show while they load, when they fail and when they are empty, and the way to more.
import type { ComponentChildren } from "preact";
import type { Problem } from "../api.ts";
import type { Listing } from "../state.ts";
import { t } from "../texts.ts";
import { Button, Empty, Pending, ProblemBox, Stale } from "./basics.tsx";

export interface Column<Row> {
  head: string;
  /** The cell that names the row. */
  isName?: boolean;
  /** Numbers, which are compared from their ends. */
  isFigure?: boolean;
  class?: string;
  /** What the cell shows; a dash for nothing. */
  cell: (row: Row) => ComponentChildren;
}

interface TableProps<Row> {
  /** What the table and the region that it scrolls in are called. */
  name: string;
  /** Columns; what is false is left out. */
  columns: (Column<Row> | false)[];
  rows: Row[];
  rowKey: (row: Row) => string | number;
  /** Shown above the table. */
  caption?: ComponentChildren;
  /** Whether it stays a table on a phone, as one of figures does; the rows of others are blocks there. */
  isDense?: boolean;
  /** Whether it is cut off at some height. */
  isTall?: boolean;
}

/** A cell with nothing in it would look like a fault. */
function filled(content: ComponentChildren): ComponentChildren {
  return content === null || content === undefined || content === false || content === "" ? "—" : content;
}

/**
 * A table in a region of its own, which scrolls where the window is narrower. The roles are said, as browsers take them away
 * from what is no table by its style.
 */
export function Table<Row>({ name, columns, rows, rowKey, caption, isDense = false, isTall = false }: TableProps<Row>) {
  const shown = columns.filter((column): column is Column<Row> => column !== false);
  const looks = shown.map((column) => [column.isFigure && "figure", column.class].filter(Boolean).join(" ") || undefined);
  return (
    <div class={isTall ? "scroll tall" : "scroll"} tabIndex={0} role="group" aria-label={name}>
      <table role="table" class={isDense ? undefined : "blocks"}>
        {caption && <caption>{caption}</caption>}
        <thead role="rowgroup">
          <tr role="row">
            {shown.map((column, index) => (
              <th key={column.head} role="columnheader" scope="col" class={looks[index]}>
                {column.head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map((row) => (
            <tr key={rowKey(row)} role="row">
              {shown.map((column, index) => {
                const content = filled(column.cell(row));
                return column.isName ? (
                  <th key={column.head} role="rowheader" scope="row" class={looks[index]}>
                    {content}
                  </th>
                ) : (
                  <td key={column.head} role="cell" class={looks[index]} data-head={column.head === t.actions ? undefined : column.head}>
                    {content}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** The way to the following page of a list, if there is one. */
export function More({ of }: { of: Pick<Listing<unknown>, "hasMore" | "loading" | "more"> }) {
  if (!of.hasMore) return null;
  return (
    <div class="actions">
      <Button onClick={of.more} aria-busy={of.loading}>
        {of.loading ? t.loading : t.more}
      </Button>
    </div>
  );
}

interface ListedProps<Item> {
  of: Listing<Item>;
  /** What is said where there is nothing. */
  none: ComponentChildren;
  children: (items: Item[]) => ComponentChildren;
}

/** A list that is loaded page by page. */
export function Listed<Item>({ of, none, children }: ListedProps<Item>) {
  const isEmpty = of.items.length === 0;
  return (
    <>
      {of.problem && <ProblemBox problem={of.problem} again={of.reload} />}
      {isEmpty && of.loading && <Pending of={{ problem: null, reload: of.reload, data: null }} />}
      {isEmpty && !of.loading && !of.problem && (typeof none === "string" ? <Empty title={none} /> : none)}
      {!isEmpty && children(of.items)}
      <More of={of} />
    </>
  );
}

interface LoadedProps<Data> {
  of: { data: Data | null; problem: Problem | null; reload: () => void };
  children: (data: Data) => ComponentChildren;
}

/** What was loaded as a whole; it stays, and is said to be old, where it cannot be loaded again. */
export function Loaded<Data>({ of, children }: LoadedProps<Data>) {
  if (of.data === null) return <Pending of={of} />;
  return (
    <>
      <Stale of={of} />
      {children(of.data)}
    </>
  );
}
