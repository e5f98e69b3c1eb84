// What can be compared: environments, aliases, and the versions that the history names, each once.
import type { Deploy, Page, Place } from "./api.ts";
import { exact, shortId } from "./format.ts";
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
  const gone = new Set([...(history?.deleted ?? []), ...(history?.collected ?? [])]);
  const versions = new Map<string, string>();
  for (const deploy of history?.deploys ?? []) {
    if (!deploy.version || gone.has(deploy.version)) continue;
    const message = visible(deploy.source.message?.split("\n")[0] ?? "");
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

function cut(text: string): string {
  const characters = [...text];
  return characters.length > CHARACTERS_MAX ? `${characters.slice(0, CHARACTERS_MAX - 1).join("")}…` : text;
}
