// The pages that are not needed at first: one part of the bundle of their own, loaded once the first page is there.
export { AccountPage } from "./account.tsx";
export { BackendPage } from "./backend.tsx";
export { ComparePage } from "./compare.tsx";
export { AuditPage, NodesPage } from "./edge.tsx";
export { HostnamesPage } from "./hostnames.tsx";
export { IntegrityPage } from "./integrity.tsx";
export { PinsPage } from "./pins.tsx";
export { PreviewsPage } from "./previews.tsx";
export { ProtectionPage } from "./protection.tsx";
export { RequestsPage } from "./requests.tsx";
export { SettingsPage } from "./settings.tsx";
export { SigningPage } from "./signing.tsx";
export { AppTokensPage, TokensPage } from "./tokens.tsx";
export { TrafficPage } from "./traffic.tsx";
export { UpkeepPage } from "./upkeep.tsx";
export { WebhooksPage } from "./webhooks.tsx";
