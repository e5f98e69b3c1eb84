// Which rows of a long list are in the document: those in sight, and some around them.

export interface Window {
  first: number;
  /** The row behind the last one. */
  end: number;
  /** The height of what stands before them, and behind. */
  before: number;
  after: number;
}

/** Rows that stand ready above and below what is in sight. */
export const OVERSCAN = 12;

/** `top` is how far the list has been scrolled out at the top of a view of `view` pixels. */
export function rowsInView(total: number, row: number, top: number, view: number): Window {
  const first = clamp(Math.floor(top / row) - OVERSCAN, 0, Math.max(0, total - 1));
  const end = clamp(Math.ceil((top + view) / row) + OVERSCAN, first, total);
  return { first, end, before: first * row, after: (total - end) * row };
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}
