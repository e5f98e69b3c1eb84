// Webhooks: the events that one may want, and what a person types to add one.

/** The events, in the order of the API's description; a test holds them to it. */
export const EVENTS = [
  "deploy.started",
  "deploy.ready",
  "deploy.live",
  "deploy.failed",
  "deploy.undone",
  "deploy.rollback",
  "canary.step",
  "environment.locked",
  "environment.unlocked",
  "certificate.failed",
  "webhook.disabled",
];

export const FORMATS = ["standard", "slack", "discord"] as const;

/** Whether a name is one that the edge takes. */
export function isName(name: string): boolean {
  return /^[a-z][a-z0-9_-]{0,31}$/.test(name);
}

/** Whether an address may be one of a webhook; the edge looks at where it leads. */
export function isAddress(text: string): boolean {
  try {
    const { protocol, hostname } = new URL(text);
    return (protocol === "https:" || protocol === "http:") && hostname !== "" && text.length <= 2048;
  } catch {
    return false;
  }
}
