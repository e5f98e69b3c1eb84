// The canary of an environment: how both versions answer, its next steps and its two ends; and what it keeps from going live.
import type { Canary, CanaryStatus, InApp, SideCounts, Status } from "../api.ts";
import { refusedBy } from "../canary.ts";
import { call, placePath } from "../client.ts";
import { openCanary, openCanaryAbort, openCanaryFinish, openCanaryStep } from "../dialogs/canary.tsx";
import { count, duration, shortId } from "../format.ts";
import { visible } from "../outside_text.ts";
import { rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { By, Id, Mark, Opens, Outside, Pending, Stale, Tag, When } from "./basics.tsx";
import { type Column, Table } from "./table.tsx";

interface Side extends SideCounts {
  version: string;
  role: string;
}

function bad(value: number) {
  return value > 0 ? <Mark tone="bad">{count(value)}</Mark> : "0";
}

const COLUMNS: Column<Side>[] = [
  {
    head: t.canary.version,
    isName: true,
    cell: (side) => (
      <>
        <Id id={side.version} /> <Tag>{side.role}</Tag>
      </>
    ),
  },
  { head: t.canary.requests, isFigure: true, cell: (side) => count(side.requests) },
  { head: t.canary.errors, isFigure: true, cell: (side) => bad(side.server_errors) },
  { head: t.canary.missing, isFigure: true, cell: (side) => count(side.not_found) },
  { head: t.canary.mean, isFigure: true, cell: (side) => (side.requests > 0 ? duration(side.mean_us / 1000) : "—") },
];

function Running({ env, live, canary }: { env: string; live: string; canary: Canary }) {
  const sides = [
    { version: live, role: t.canary.live, ...canary.counts.live },
    { version: canary.version, role: t.canary.role, ...canary.counts.canary },
  ];
  return (
    <>
      <p>
        <Mark tone="busy">{t.canary.runs(canary.share)}</Mark> <Id id={canary.version} />{" "}
        <span class="faint">
          <When at={canary.since_ms} />
          <By who={canary.who} />
        </span>
      </p>
      {canary.next && (
        <p>
          {t.canary.next(canary.next.percent)} <When at={canary.next.at_ms} />
        </p>
      )}
      {canary.cookie && (
        <p class="faint">
          <Outside text={t.canary.decides(canary.cookie)} />
        </p>
      )}
      <Table name={t.of(t.canary.name, visible(env))} columns={COLUMNS} rows={sides} rowKey={(side) => side.version} />
      <p class="hint">{t.canary.counted}</p>
    </>
  );
}

/** How often the answers of both versions are looked at. */
const LOOK_MS = 5000;

/** The canary that runs in an environment, on its card. */
export function CanaryPart({ app, env, status }: InApp & { status: Status }) {
  const shown = status.canary ?? null;
  const key = shown && `canary ${app} ${env} ${shown.version} ${shown.share}`;
  const look = useResource<CanaryStatus>(key, (signal) => call("GET", placePath(app, env, "canary"), { signal }), LOOK_MS);
  if (!shown) return null;
  const place = { app, env, canary: shown };
  return (
    <section class="canary" aria-label={t.of(t.canary.name, visible(env))}>
      <Pending of={look} />
      <Stale of={look} />
      {look.data?.canary && <Running env={env} live={look.data.live} canary={look.data.canary} />}
      {rights.value.can("goLive", app, env) && (
        <div class="actions">
          <Opens label={t.canary.step} of={env} open={() => openCanaryStep(place)} />
          <Opens look="main" label={t.canary.finish} of={env} open={() => openCanaryFinish({ ...place, live: status.version })} />
          <Opens look="danger" label={t.canary.abort} of={env} open={() => openCanaryAbort(place)} />
        </div>
      )}
    </section>
  );
}

/** Why nothing else goes live in an environment, where a canary runs. */
export function Refusal({ status }: { status: Pick<Status, "canary"> | null }) {
  const reason = refusedBy(status?.canary);
  return (
    reason && (
      <p class="faint refusal">
        <Mark tone="warn">{reason}</Mark>
      </p>
    )
  );
}

/** Offers a canary of a stored version, beside the button that makes it live. */
export function BeginsCanary({ app, env, version, status }: InApp & { version: string; status: Pick<Status, "version" | "canary"> | null }) {
  const live = status?.version;
  if (!live || live === version || status.canary) return null;
  return <Opens label={t.canary.begin} of={shortId(version)} open={() => openCanary({ app, env, version, live })} />;
}
