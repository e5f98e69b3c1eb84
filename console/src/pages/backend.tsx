// The backend of an environment: its instances, pools of members, and schedules.
import { useState } from "preact/hooks";
import type { Instance, InstanceList, Schedule, Upstream } from "../api.ts";
import { at, devanture } from "../command.ts";
import { call, path } from "../client.ts";
import { bytes } from "../format.ts";
import { loadInstances, loadSchedules } from "../instances.ts";
import { rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { Button, Empty, Id, Mark, Outside, Pending, Stale, type Tone, When } from "../ui/basics.tsx";
import { ActionDialog, openDialog, TextField } from "../ui/dialog.tsx";
import { AppFrame, chosenEnvironment, useApp, useTitle } from "../ui/frame.tsx";

interface Place {
  app: string;
  env: string;
}

const TONES: Record<string, Tone> = {
  healthy: "good",
  starting: "busy",
  stopping: "busy",
  unhealthy: "bad",
  waiting: "warn",
  "crash-loop": "bad",
  warm: "idle",
};

function ScaleDialog({ app, env, process, now }: Place & { process: string; now: string }) {
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
        await call("PATCH", path`/v1/apps/${app}/environments/${env}/instances`, { body: { processes: { [process]: value } } });
        return t.backend.scaled(process, given);
      }}
    >
      <TextField label={t.backend.count} hint={t.backend.countHint} value={count} set={setCount} max={7} first required />
      {value === 0 && <Mark tone="warn">{t.backend.none}</Mark>}
    </ActionDialog>
  );
}

function RestartDialog({ app, env, process }: Place & { process: string | null }) {
  return (
    <ActionDialog
      title={t.backend.restartTitle(process ?? t.backend.everything, env)}
      command={devanture("restart", process, ...at(app, env))}
      label={t.backend.restart}
      run={async () => {
        const body = process ? { process } : {};
        await call("POST", path`/v1/apps/${app}/environments/${env}/instances/restart`, { body });
        return t.backend.restarted;
      }}
    >
      <p>{t.backend.restartAbout}</p>
    </ActionDialog>
  );
}

function RunDialog({ app, env, schedule }: Place & { schedule: string }) {
  return (
    <ActionDialog
      title={t.backend.runTitle(schedule)}
      command={devanture("schedules", "run", schedule, ...at(app, env))}
      label={t.backend.run}
      run={async () => {
        await call("POST", path`/v1/apps/${app}/environments/${env}/schedules/${schedule}/run`);
        return t.backend.ran(schedule);
      }}
    >
      <p>{t.backend.runAbout}</p>
    </ActionDialog>
  );
}

function Instances({ app, env, list, may }: Place & { list: InstanceList; may: boolean }) {
  const processes = [...new Set(list.instances.map((one) => one.process))];
  return (
    <section aria-labelledby="instances">
      <h2 id="instances">{t.backend.instances}</h2>
      {may && (
        <div class="actions">
          {processes.map((process) => (
            <>
              <Button onClick={() => openDialog(<ScaleDialog app={app} env={env} process={process} now={countOf(list, process)} />)}>
                {t.backend.scale} <Outside text={process} />…
              </Button>
              <Button onClick={() => openDialog(<RestartDialog app={app} env={env} process={process} />)}>
                {t.backend.restart} <Outside text={process} />…
              </Button>
            </>
          ))}
        </div>
      )}
      <div class="scroll" tabIndex={0} role="group" aria-label={t.backend.instances}>
        <table>
          <thead>
            <tr>
              <th scope="col">{t.backend.instance}</th>
              <th scope="col">{t.backend.state}</th>
              <th scope="col">{t.backend.node}</th>
              <th scope="col">{t.apps.version}</th>
              <th scope="col">{t.apps.since}</th>
              <th scope="col" class="figure">{t.backend.memory}</th>
              <th scope="col" class="figure">{t.backend.restarts}</th>
            </tr>
          </thead>
          <tbody>
            {list.instances.map((one) => (
              <tr key={`${one.node} ${one.name}`}>
                <th scope="row">
                  <code>
                    <Outside text={one.name} />
                  </code>
                </th>
                <td>
                  <Mark tone={TONES[one.state] ?? "idle"}>{one.state}</Mark>
                  {one.detail && (
                    <span class="faint">
                      {" "}
                      <Outside text={one.detail} />
                    </span>
                  )}
                </td>
                <td>
                  <Outside text={one.node} />
                </td>
                <td>
                  <Id id={one.version} />
                </td>
                <td>
                  <When at={one.since_ms} />
                </td>
                <td class="figure">{memory(one)}</td>
                <td class="figure">{one.restarts}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function countOf(list: InstanceList, process: string): string {
  const set = list.scale[process];
  if (set !== undefined) return String(set);
  return String(list.instances.filter((one) => one.process === process && one.state !== "warm" && one.state !== "stopping").length);
}

function memory(instance: Instance): string {
  if (instance.memory_bytes === null) return "—";
  const most = instance.memory_bytes_max;
  return most === null ? bytes(instance.memory_bytes) : `${bytes(instance.memory_bytes)} / ${bytes(most)}`;
}

function Upstreams({ upstreams }: { upstreams: Upstream[] }) {
  return (
    <section aria-labelledby="upstreams">
      <h2 id="upstreams">{t.backend.upstreams}</h2>
      {upstreams.map((upstream) => (
        <div class="scroll" tabIndex={0} role="group" aria-label={t.backend.pool(upstream.name)} key={upstream.name}>
          <table>
            <caption>
              <Outside text={upstream.name} />
            </caption>
            <thead>
              <tr>
                <th scope="col">{t.backend.address}</th>
                <th scope="col">{t.backend.state}</th>
                <th scope="col" class="figure">{t.backend.underWay}</th>
              </tr>
            </thead>
            <tbody>
              {upstream.members.flatMap((member) =>
                (member.backends.length > 0 ? member.backends : [{ address: member.address, requests: 0, state: member.desired ?? "" }]).map((backend) => (
                  <tr key={`${member.address} ${backend.address}`}>
                    <th scope="row">
                      <code>
                        <Outside text={backend.address} />
                      </code>
                    </th>
                    <td>
                      <Mark tone={backend.state === "healthy" || backend.state === "in" ? "good" : backend.state === "unhealthy" ? "bad" : "warn"}>
                        <Outside text={backend.state} />
                      </Mark>
                    </td>
                    <td class="figure">{backend.requests}</td>
                  </tr>
                )),
              )}
            </tbody>
          </table>
        </div>
      ))}
    </section>
  );
}

function Schedules({ app, env, schedules, may }: Place & { schedules: Schedule[]; may: boolean }) {
  return (
    <section aria-labelledby="schedules">
      <h2 id="schedules">{t.backend.schedules}</h2>
      <div class="scroll" tabIndex={0} role="group" aria-label={t.backend.schedules}>
        <table>
          <thead>
            <tr>
              <th scope="col">{t.backend.schedule}</th>
              <th scope="col">{t.backend.cron}</th>
              <th scope="col">{t.backend.next}</th>
              <th scope="col">{t.backend.last}</th>
              <th scope="col">{t.actions}</th>
            </tr>
          </thead>
          <tbody>
            {schedules.map((schedule) => (
              <tr key={schedule.name}>
                <th scope="row">
                  <Outside text={schedule.name} />
                </th>
                <td>
                  <code>
                    <Outside text={schedule.cron} />
                  </code>{" "}
                  <span class="faint">
                    <Outside text={schedule.zone} />
                  </span>
                </td>
                <td>
                  <When at={schedule.next_ms} />
                </td>
                <td>
                  {schedule.running.length > 0 ? (
                    <Mark tone="busy">{t.backend.running}</Mark>
                  ) : schedule.last ? (
                    <Mark tone={schedule.last.outcome === "succeeded" ? "good" : "bad"}>
                      <Outside text={schedule.last.outcome} />, <When at={schedule.last.ended_ms} />
                    </Mark>
                  ) : (
                    "—"
                  )}
                </td>
                <td>
                  {may && (
                    <Button onClick={() => openDialog(<RunDialog app={app} env={env} schedule={schedule.name} />)}>{t.backend.run}…</Button>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

export function BackendPage({ app }: { app: string }) {
  useTitle(t.tabs.backend, app);
  const info = useApp(app);
  const env = chosenEnvironment(info.data);
  const instances = useResource<InstanceList>(env ? `instances ${app} ${env}` : null, (signal) => loadInstances(app, env ?? "", signal), 3000);
  const upstreams = useResource<{ upstreams: Upstream[] }>(
    env ? `upstreams ${app} ${env}` : null,
    (signal) => call("GET", path`/v1/apps/${app}/environments/${env ?? ""}/upstreams`, { signal }),
    5000,
  );
  const schedules = useResource<{ schedules: Schedule[] }>(
    env && instances.data ? `schedules ${app} ${env}` : null,
    (signal) => loadSchedules(app, env ?? "", signal),
    10_000,
  );
  const may = env !== null && rights.value.may("push", app, env);
  const has =
    (instances.data?.instances.length ?? 0) + (upstreams.data?.upstreams.length ?? 0) + (schedules.data?.schedules.length ?? 0) > 0;
  const isLoaded = instances.data !== null && upstreams.data !== null && schedules.data !== null;
  return (
    <AppFrame app={app} info={info.data} env={env}>
      <Pending of={info} />
      {env && (
        <>
          <Pending of={instances} />
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
