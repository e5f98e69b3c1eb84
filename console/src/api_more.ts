// The types of the HTTP API that the pages read which a first visit does not load, after edge/control/src/admin/openapi.yaml.
import type { Signed } from "./api.ts";

export interface Signers {
  signers: string[];
  signatures_min: number;
  who?: string;
  at_ms?: number;
  live?: Signed;
}

export interface LiveLogEntry {
  number: number;
  previous: string | null;
  at_ms: number;
  version: string;
  settings: number;
  deploy: string;
  kind: string;
  who: string;
  signed_by: string[];
  hash: string;
}

export type ProtectionMode = "public" | "password" | "token" | "off";

/** Who may see an environment, or as `preview` all previews of an app. */
export interface Protection {
  environment: string;
  mode: ProtectionMode;
  is_default: boolean;
  has_password: boolean;
  who?: string;
  at_ms?: number;
}

/** A share link, without its secret. */
export interface ShareLink {
  id: string;
  target: { alias?: string; environment?: string; version?: string };
  host: string;
  has_password: boolean;
  who: string;
  created_ms: number;
  expires_ms: number;
}

export interface Webhook {
  name: string;
  /** The scheme and the host of its address, which is never shown whole. */
  address: string;
  format: "standard" | "slack" | "discord";
  /** All where there are none. */
  events: string[];
  environments: string[];
  who: string;
  created_ms: number;
  state: string;
  failing_since_ms: number | null;
  disabled: { at_ms: number; reason: string } | null;
  old_secret_until_ms: number | null;
  waiting: number;
}

/** A message to a webhook. */
export interface Delivery {
  id: string;
  state: string;
  attempts: number;
  next_ms: number | null;
  last: { at_ms: number; ms: number; status: number | null; error: string | null; answer: string } | null;
  payload: { type: string; timestamp: string; data: { environment?: string; version?: string } };
}

export interface WebhookDetails {
  webhook: Webhook;
  deliveries: Delivery[];
}

/** What browsers reported about what pages load without a hash, and the hashes of what is live. */
export interface IntegrityReports {
  live?: { version: string; mode: IntegrityMode; pages: number };
  reports: IntegrityReport[];
  missing?: string[];
}

export type IntegrityMode = "off" | "report" | "enforce";

export interface IntegrityReport {
  /** From outside, as all of it. */
  blocked: string;
  destination: string;
  page: string;
  enforced: boolean;
  count: number;
  first_ms: number;
  last_ms: number;
}

/** The versions on which nobody is held any more. */
export interface Unpinned {
  versions: string[];
}
