// Where the preview of a version is.
import type { Status } from "./api.ts";
import { shortId } from "./format.ts";

/** The address of another version's preview, made from that of the live one. */
export function previewOf(status: Status | null, version: string): string | null {
  const preview = status?.urls?.preview;
  if (!preview || !status?.version) return null;
  const known = shortId(status.version);
  return preview.includes(known) ? preview.replace(known, shortId(version)) : null;
}
