// The types of the HTTP API as the first pages read them, after edge/control/src/admin/openapi.yaml; api_more.ts has others.

export type Scope = "read" | "push" | "promote" | "run" | "admin";

/** A canary, as a status and the list of apps have it. */
export interface CanaryShare {
  version: string;
  share: number;
}

/** An environment of an app. */
export interface InApp {
  app: string;
  env: string;
}

export interface Problem {
  title: string;
  status: number;
  code: string;
  detail: string;
  hint?: string;
  limit?: { name: string; max: number; used: number };
  mistakes?: { file: string; line: number; weight: string; message: string; hint?: string }[];
  lines?: string[];
  retry_after_s?: number;
  /** Of `live_moved`: the environment that has moved, and what is live there. */
  live?: { environment: string; version: string | null };
}

export interface Right {
  app: string | null;
  environment: string | null;
  scopes: Scope[];
}

export interface Session {
  id: string;
  account: string | null;
  token: string | null;
  rights: Right[];
  created_ms: number | null;
  expires_ms: number | null;
  confirmed_until_ms: number | null;
  passkeys: number;
}

export interface SessionInfo {
  id: string;
  account: string | null;
  token: string | null;
  created_ms: number;
  used_ms: number | null;
  expires_ms: number;
  from: string | null;
  browser: string | null;
  current: boolean;
}

export interface Passkey {
  id: string;
  name: string;
  created_ms: number;
  used_ms: number | null;
}

export interface Challenge {
  challenge: string;
  rp: string;
  user?: { id: string; name: string };
  credentials: { id: string }[];
}

/** A page of a list: `next` is where the following one begins. */
export type Page<Key extends string, Item> = { [K in Key]: Item[] } & { next?: string };

export interface AppEnvironment {
  name: string;
  version?: string;
  since_ms?: number;
  who?: string;
  url: string;
  hostnames: number;
  paused?: boolean;
  locked?: boolean;
  damaged?: boolean;
  canary?: CanaryShare;
  /** Whether the live version has a backend that the edge runs; absent while it is not known. */
  backend?: boolean;
}

/** Damage of a live version: of its files, or, with `error`, of what it is loaded from. */
export interface Damage {
  version?: string | null;
  count: number;
  files: string[];
  error?: string | null;
  in_memory?: boolean;
}

export interface AppInfo {
  app: string;
  created_ms?: number;
  created_by?: string;
  versions?: number;
  environments_total: number;
  environments: AppEnvironment[];
}

export type AppList = Page<"apps", AppInfo> & { totals: { apps: number; environments: number; hostnames: number } };

export interface Urls {
  live: string;
  preview: string;
  alias?: string;
}

export interface Place {
  name: string;
  alias: boolean;
  version: string;
  url: string;
  since_ms: number;
  who?: string;
  expires_ms?: number;
}

export interface Pause {
  since_ms: number;
  who: string;
  message?: string;
  allow: string[];
  retry_after_s: number;
}

export interface Lock {
  since_ms: number;
  who: string;
  reason?: string;
}

export interface NodeStatus {
  name: string;
  advertise?: string | null;
  state: "ready" | "cut" | "unreachable";
  release: string;
  started_ms: number;
  revision?: number | null;
  lag?: number | null;
  catalog_age_ms?: number | null;
  certificate_ends_s?: number | null;
  versions: { app: string; environment: string; version?: string | null; wanted?: string | null }[];
  has_more?: boolean;
  detail?: string | null;
}

/** Private addresses that what is live, or a webhook of its events, reaches still; `allow` is the line of edge.toml. */
export interface KeptReach {
  addresses: string[];
  allow: string;
  webhooks?: string[];
}

export interface Status {
  app: string;
  environment: string;
  version: string | null;
  since_ms?: number | null;
  deploy?: string | null;
  urls?: Urls | null;
  hostnames: string[];
  places: Place[];
  paused?: Pause | null;
  locked?: Lock | null;
  damaged?: Damage | null;
  quarantined?: number;
  lost_secrets?: string[];
  kept_reach?: KeptReach;
  canary?: CanaryShare | null;
  signed?: Signed;
  /** Whether the live version holds its visitors, and the earlier versions on which some are held, the last one first. */
  pins?: boolean;
  pinned?: string[];
  more_places?: boolean;
  nodes?: NodeStatus[];
}

export type StepState = "started" | "done" | "skipped" | "failed";

export interface Step {
  name: string;
  state: StepState;
  detail?: string;
  ms?: number;
  /** What was reported of it so far, where each report is of something else. Not of the API. */
  lines?: string[];
}

export interface Source {
  commit?: string;
  branch?: string;
  message?: string;
  dirty?: boolean;
  ci?: string;
  url?: string;
}

export interface Deploy {
  id: string;
  kind: string;
  environment: string;
  version: string;
  previous: string | null;
  who: string;
  at_ms: number;
  source: Source;
  steps: Step[];
  outcome: "live" | "stored" | "superseded" | "failed" | "done";
  alias?: string;
  reason?: string;
  problem?: { code: string; detail: string };
  log?: string[];
  settings?: number;
  went_back?: string;
}

export type History = Page<"deploys", Deploy> & { deleted?: string[]; collected?: string[]; unreadable?: number };

export type RecentState = "begun" | "running" | "live" | "failed" | "stored" | "superseded";

/** A deploy under way, or one of the last that failed. */
export interface RecentDeploy {
  deploy: string;
  kind?: string;
  version?: string | null;
  state: RecentState;
  started_ms: number;
  ended_ms?: number | null;
  who: string;
  commit?: string | null;
  message?: string | null;
  reason?: string | null;
  step?: string | null;
  steps: Step[];
  error?: Pick<Problem, "code" | "detail"> | null;
}

export interface SettingsDifference {
  was: number;
  now: number;
  restored: boolean;
  changed: string[];
  added: string[];
  removed: string[];
}

export interface SwitchReport {
  dry_run?: boolean;
  app: string;
  environment: string;
  version: string;
  previous: string | null;
  switched: boolean;
  urls: Urls;
  deploy?: string;
  ms: number;
  steps: Step[];
  settings?: SettingsDifference;
}

/** The answers of one version on the node that was asked. */
export interface SideCounts {
  requests: number;
  not_found: number;
  server_errors: number;
  mean_us: number;
}

export interface Canary extends CanaryShare {
  since_ms: number;
  who: string;
  cookie?: string;
  /** The step that it takes next by itself. */
  next?: { percent: number; at_ms: number };
  counts: { live: SideCounts; canary: SideCounts };
}

export interface CanaryStatus {
  live: string;
  canary: Canary | null;
}

export interface Amount {
  files: number;
  bytes: number;
}

export interface FileChange {
  path: string;
  change: "added" | "changed" | "removed";
  bytes_before?: number;
  bytes?: number;
  refingerprinted?: boolean;
}

export interface Diff {
  app: string;
  from: { named: string; version: string | null };
  to: { named: string; version: string | null };
  files: { added: Amount; changed: Amount; removed: Amount; same: Amount };
  changes: FileChange[];
  next?: string;
  visitors: { load: Amount; revalidate: Amount; keep: Amount; first_visit: Amount; with_dictionaries?: number };
  serving: { place: string; key: string; before?: string; now?: string }[];
}

export interface Instance {
  name: string;
  node: string;
  process: string;
  kind: string;
  state: string;
  version: string;
  settings: number;
  memory_bytes: number | null;
  memory_bytes_max: number | null;
  restarts: number;
  since_ms: number;
  detail: string | null;
}

export interface InstanceList {
  instances: Instance[];
  scale: Record<string, number | "all">;
}

export interface Upstream {
  name: string;
  protocol: string;
  waiting: number;
  members: { address: string; declared: boolean; desired?: string | null; backends: { address: string; requests: number; state: string }[] }[];
}

export interface Schedule {
  name: string;
  cron: string;
  zone: string;
  next_ms: number | null;
  running: { started_ms: number; node: string }[];
  last: { started_ms: number; ended_ms: number; outcome: string; detail: string | null } | null;
}

export interface HostnameStatus {
  name: string;
  unicode: string;
  canonical: boolean;
  redirects_to?: string | null;
  source: "api" | "manifest";
  listed: boolean;
  url?: string | null;
  /** The certificate that visitors get; `null` for one of the local authority. */
  certificate?: { source: "acme" | "file"; expires_ms: number } | null;
  /** Records of DNS by which browsers learn of HTTP/3. */
  https_records?: string[];
}

export type HostnameList = Page<"hostnames", HostnameStatus> & { canonical: string | null };

export interface Setting {
  name: string;
  public: boolean;
  secret: boolean;
  lost: boolean;
  development: boolean;
  value?: string | null;
  revision: number;
  who: string;
  at_ms: number;
}

export interface SettingsList {
  revision: number;
  who?: string | null;
  at_ms?: number | null;
  settings: Setting[];
}

export interface TokenInfo {
  id: string;
  name: string;
  app: string | null;
  environment: string | null;
  scope: Scope;
  created_ms: number;
  made_by?: string;
  expires_ms: number | null;
  last_used_ms: number | null;
  last_used_from?: string;
}

export interface AuditEntry {
  number: number;
  at_ms: number;
  action: string;
  who: string;
  by: string;
  /** Of a token that another credential made: the one that the chain of those began with. */
  root?: string;
  via?: string;
  from: string;
  node?: string;
  app?: string;
  environment?: string;
  what?: string;
}

export interface DeletedThing {
  app: string;
  environment?: string;
  version?: string;
  deleted_ms: number;
  until_ms: number;
  who: string;
}

export interface LogLine {
  at_ms: number;
  host: string;
  method: string;
  target: string;
  status: number;
  bytes: number;
  us: number;
  protocol: string;
  version?: string;
  client?: string;
  error?: string;
  node?: string;
  proxied?: boolean;
  upstream?: string;
  referer?: string;
  user_agent?: string;
  request_id?: string;
}

export interface TrafficFigures {
  version: string;
  requests: number;
  errors: number;
  client_errors: number;
  bytes: number;
  bytes_saved: number;
  latency_ms: { p50: number; p99: number };
}

export interface Traffic {
  from_ms: number;
  to_ms: number;
  step_s: number;
  points: { at_ms: number; versions: TrafficFigures[] }[];
  switches: { at_ms: number; version: string; deploy: string }[];
  /** Nodes that did not answer. */
  missing?: string[];
}

export type Confirmation = "promote" | "token" | "delete";

/** Whether a version has the signatures that an environment wants. */
export interface Signed {
  is_enough: boolean;
  signed_by: string[];
  signatures_min: number;
}
