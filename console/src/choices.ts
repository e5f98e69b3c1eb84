// What can be compared: environments, aliases, and the versions that the history names, each once.
import type { Deploy, Page, Place } from "./api.ts";
import { exact, firstLine, shortId } from "./format.ts";
import { goneOf } from "./history.ts";
import { visible } from "./outside_text.ts";

export type AliasListing = Page<"aliases", Place>;

export interface Choice {
  value: string;
  text: string;
}

export interface Choices {
  environments: Choice[];
  aliases: Choice[];
  versions: Choice[];
}

/** The longest text of a choice. */
const CHARACTERS_MAX = 80;

interface Past {
  deploys: Deploy[];
  deleted?: string[];
  collected?: string[];
}

export function choicesOf(environments: string[], aliases: Place[], history: Past | null): Choices {
  const gone = goneOf(history ?? {});
  const versions = new Map<string, string>();
  for (const deploy of history?.deploys ?? []) {
    if (!deploy.version || gone.has(deploy.version)) continue;
    const message = visible(firstLine(deploy.source.message));
    const text = `${shortId(deploy.version)}  ${exact(deploy.at_ms)}  ${message}`.trim();
    // The deploy that brought it says more than a switch back to it.
    if (!versions.has(deploy.version) || message) versions.set(deploy.version, cut(text));
  }
  return {
    environments: environments.map((name) => ({ value: name, text: name })),
    aliases: aliases.map((place) => ({ value: place.name, text: `${visible(place.name)}  ${shortId(place.version)}` })),
    versions: [...versions].map(([value, text]) => ({ value, text })),
  };
}

/** Each stored version of these deploys once, the newest first: by the push that brought it, if that is among them. */
export function versionsOf(deploys: Deploy[], gone: Set<string>): Deploy[] {
  const found = new Map<string, Deploy>();
  for (const deploy of deploys) {
    if (!deploy.version || gone.has(deploy.version)) continue;
    const known = found.get(deploy.version);
    // A failed push of a version that went live by another one is no word about the version.
    const isBetter = !known || (deploy.kind === "push" && (known.kind !== "push" || (known.outcome === "failed" && deploy.outcome !== "failed")));
    if (isBetter) found.set(deploy.version, known && known.outcome !== "failed" ? { ...deploy, outcome: known.outcome } : deploy);
  }
  return [...found.values()];
}

function cut(text: string): string {
  const characters = [...text];
  return characters.length > CHARACTERS_MAX ? `${characters.slice(0, CHARACTERS_MAX - 1).join("")}…` : text;
}
