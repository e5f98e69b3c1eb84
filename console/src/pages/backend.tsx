// The backend of an environment: its instances, pools of members, and schedules.
import { useState } from "preact/hooks";
import type { InApp, Instance, InstanceList, Schedule, Upstream } from "../api.ts";
import { at, devanture } from "../command.ts";
import { call, placePath } from "../client.ts";
import { bytes } from "../format.ts";
import { toneOf } from "../health.ts";
import { runsBackend, servingOf, useInstances, useSchedules } from "../instances.ts";
import { rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { Beside, Empty, Id, Mark, Opens, Outside, Pending, Stale, When } from "../ui/basics.tsx";
import { ActionDialog, openDialog, TextField } from "../ui/dialog.tsx";
import { AppFrame, chosenEnvironment, useApp, useTitle } from "../ui/frame.tsx";
import { type Column, Table } from "../ui/table.tsx";

function ScaleDialog({ app, env, process, now }: InApp & { process: string; now: string }) {
  const [count, setCount] = useState(now);
  const given = count.trim();
  const value = given === "all" ? "all" : given === "default" ? null : Number(given);
  const isValid = value === null || value === "all" || (/^\d{1,4}$/.test(given) && Number(given) <= 1000);
  return (
    <ActionDialog
      title={t.backend.scaleTitle(process, env)}
      command={devanture("scale", `${process}=${given || "N"}`, ...at(app, env), value === 0 && "--yes")}
      label={t.backend.scale}
      danger={value === 0}
      disabled={!isValid}
      run={async () => {
        await call("PATCH", placePath(app, env, "instances"), { body: { processes: { [process]: value } } });
        return t.backend.scaled(process, given);
      }}
    >
      <TextField label={t.backend.count} hint={t.backend.countHint} value={count} set={setCount} max={7} first required />
      {value === 0 && <Mark tone="warn">{t.backend.none}</Mark>}
    </ActionDialog>
  );
}

function RestartDialog({ app, env, process }: InApp & { process: string | null }) {
  return (
    <ActionDialog
      title={t.backend.restartTitle(process ?? t.backend.everything, env)}
      command={devanture("restart", process, ...at(app, env))}
      label={t.backend.restart}
      run={async () => {
        const body = process ? { process } : {};
        await call("POST", placePath(app, env, "instances", "restart"), { body });
        return t.backend.restarted;
      }}
    >
      <p>{t.backend.restartAbout}</p>
    </ActionDialog>
  );
}

function RunDialog({ app, env, schedule }: InApp & { schedule: string }) {
  return (
    <ActionDialog
      title={t.backend.runTitle(schedule)}
      command={devanture("schedules", "run", schedule, ...at(app, env))}
      label={t.backend.run}
      run={async () => {
        await call("POST", placePath(app, env, "schedules", schedule, "run"));
        return t.backend.ran(schedule);
      }}
    >
      <p>{t.backend.runAbout}</p>
    </ActionDialog>
  );
}

const INSTANCE_COLUMNS: Column<Instance>[] = [
  {
    head: t.backend.instance,
    isName: true,
    cell: (one) => (
      <code>
        <Outside text={one.name} />
      </code>
    ),
  },
  {
    head: t.backend.state,
    cell: (one) => (
      <>
        <Mark tone={toneOf("instance", one.state)}>{t.backend.states[one.state] ?? one.state}</Mark>
        <Beside text={one.detail} />
      </>
    ),
  },
  { head: t.backend.node, cell: (one) => <Outside text={one.node} /> },
  { head: t.apps.version, cell: (one) => <Id id={one.version} /> },
  { head: t.apps.since, cell: (one) => <When at={one.since_ms} /> },
  { head: t.backend.memory, isFigure: true, cell: memory },
  { head: t.backend.restarts, isFigure: true, cell: (one) => one.restarts },
];

function Instances({ app, env, list, may }: InApp & { list: InstanceList; may: boolean }) {
  const processes = [...new Set(list.instances.map((one) => one.process))];
  return (
    <section aria-labelledby="instances">
      <h2 id="instances">{t.backend.instances}</h2>
      {may && (
        <div class="actions">
          {processes.map((process) => (
            <>
              <Opens
                label={t.backend.scaleOf(process)}
                open={() => openDialog(<ScaleDialog app={app} env={env} process={process} now={countOf(list, process)} />)}
              />
              <Opens label={t.backend.restartOf(process)} open={() => openDialog(<RestartDialog app={app} env={env} process={process} />)} />
            </>
          ))}
        </div>
      )}
      <Table name={t.backend.instances} columns={INSTANCE_COLUMNS} rows={list.instances} rowKey={(one) => `${one.node} ${one.name}`} />
    </section>
  );
}

function countOf(list: InstanceList, process: string): string {
  const set = list.scale[process];
  if (set !== undefined) return String(set);
  return String(servingOf(list).filter((one) => one.process === process).length);
}

function memory(instance: Instance): string | null {
  if (instance.memory_bytes === null) return null;
  const most = instance.memory_bytes_max;
  return most === null ? bytes(instance.memory_bytes) : `${bytes(instance.memory_bytes)} / ${bytes(most)}`;
}

type Member = Upstream["members"][number]["backends"][number];

const MEMBER_COLUMNS: Column<Member>[] = [
  {
    head: t.backend.address,
    isName: true,
    cell: (one) => (
      <code>
        <Outside text={one.address} />
      </code>
    ),
  },
  {
    head: t.backend.state,
    cell: (one) => (
      <Mark tone={toneOf("member", one.state)}>
        <Outside text={t.backend.states[one.state] ?? one.state} />
      </Mark>
    ),
  },
  { head: t.backend.underWay, isFigure: true, cell: (one) => one.requests },
];

/** The backends of a pool; a member that none was found for stands for itself. */
function membersOf({ members }: Upstream): Member[] {
  return members.flatMap(({ address, desired, backends }) =>
    backends.length > 0 ? backends : [{ address, requests: 0, state: desired ?? "" }],
  );
}

function Upstreams({ upstreams }: { upstreams: Upstream[] }) {
  return (
    <section aria-labelledby="upstreams">
      <h2 id="upstreams">{t.backend.upstreams}</h2>
      {upstreams.map((upstream) => (
        <Table
          key={upstream.name}
          name={t.backend.pool(upstream.name)}
          caption={<Outside text={upstream.name} />}
          columns={MEMBER_COLUMNS}
          rows={membersOf(upstream)}
          rowKey={(one) => one.address}
        />
      ))}
    </section>
  );
}

function LastRun({ schedule: { running, last } }: { schedule: Schedule }) {
  if (running.length > 0) return <Mark tone="busy">{t.backend.running}</Mark>;
  if (!last) return <>—</>;
  return (
    <Mark tone={toneOf("run", last.outcome)}>
      <Outside text={t.backend.runs[last.outcome] ?? last.outcome} />, <When at={last.ended_ms} />
    </Mark>
  );
}

function Schedules({ app, env, schedules, may }: InApp & { schedules: Schedule[]; may: boolean }) {
  const columns: (Column<Schedule> | false)[] = [
    { head: t.backend.schedule, isName: true, cell: (schedule) => <Outside text={schedule.name} /> },
    {
      head: t.backend.cron,
      cell: (schedule) => (
        <>
          <code>
            <Outside text={schedule.cron} />
          </code>
          <Beside text={schedule.zone} />
        </>
      ),
    },
    { head: t.backend.next, cell: (schedule) => <When at={schedule.next_ms} /> },
    { head: t.backend.last, cell: (schedule) => <LastRun schedule={schedule} /> },
    may && {
      head: t.actions,
      cell: ({ name }) => <Opens label={t.backend.run} of={name} open={() => openDialog(<RunDialog app={app} env={env} schedule={name} />)} />,
    },
  ];
  return (
    <section aria-labelledby="schedules">
      <h2 id="schedules">{t.backend.schedules}</h2>
      <Table name={t.backend.schedules} columns={columns} rows={schedules} rowKey={(schedule) => schedule.name} />
    </section>
  );
}

export function BackendPage({ app }: { app: string }) {
  useTitle(t.tabs.backend, app);
  const info = useApp(app);
  const env = chosenEnvironment(info.data);
  const runs = runsBackend(info.data, env);
  const instances = useInstances(info.data, env, 3000);
  const schedules = useSchedules(info.data, env, 10_000);
  const upstreams = useResource<{ upstreams: Upstream[] }>(
    env ? `upstreams ${app} ${env}` : null,
    (signal) => call("GET", placePath(app, env ?? "", "upstreams"), { signal }),
    5000,
  );
  const may = env !== null && rights.value.can("runBackend", app, env);
  const has =
    (instances.data?.instances.length ?? 0) + (upstreams.data?.upstreams.length ?? 0) + (schedules.data?.schedules.length ?? 0) > 0;
  const isLoaded = upstreams.data !== null && (!runs || (instances.data !== null && schedules.data !== null));
  return (
    <AppFrame app={app} info={info.data} env={env}>
      <Pending of={info} />
      {env && (
        <>
          <Pending of={upstreams} />
          {runs && <Pending of={instances} />}
          <Stale of={instances} />
          {isLoaded && !has && (
            <Empty title={t.backend.nothing}>
              <p>{t.backend.nothingAbout}</p>
            </Empty>
          )}
          {instances.data && instances.data.instances.length > 0 && <Instances app={app} env={env} list={instances.data} may={may} />}
          {upstreams.data && upstreams.data.upstreams.length > 0 && <Upstreams upstreams={upstreams.data.upstreams} />}
          {schedules.data && schedules.data.schedules.length > 0 && <Schedules app={app} env={env} schedules={schedules.data.schedules} may={may} />}
        </>
      )}
    </AppFrame>
  );
}
