// Webhooks of an app: whether their receivers take messages, and what was sent to one of them.
import type { Delivery, Webhook, WebhookDetails } from "../api_more.ts";
import { call, path } from "../client.ts";
import { openRedeliver, openRemoveWebhook, openRotate, openTest, openWebhook, Outcome } from "../dialogs/webhooks.tsx";
import { shortId } from "../format.ts";
import { toneOf } from "../health.ts";
import { visible } from "../outside_text.ts";
import { route, setQuery } from "../router.ts";
import { rights, useResource } from "../state.ts";
import { t } from "../texts.ts";
import { m } from "../texts_more.ts";
import { Beside, Button, Empty, Mark, Opens, Outside, Pending, When } from "../ui/basics.tsx";
import { AppFrame, environmentsOf, useApp, useTitle } from "../ui/frame.tsx";
import { type Column, Loaded, Table } from "../ui/table.tsx";

/** How often receivers and their messages are looked at. */
const LOOK_MS = 5000;
/** Messages that are shown of a webhook. */
const MESSAGES = 50;

function State({ webhook }: { webhook: Webhook }) {
  const { state, disabled, failing_since_ms, waiting } = webhook;
  return (
    <>
      <Mark tone={toneOf("webhook", state)}>{m.webhooks.webhookStates[state] ?? state}</Mark>
      {disabled ? (
        <span class="faint">
          {" "}
          <When at={disabled.at_ms} /> <Outside text={disabled.reason} />
        </span>
      ) : (
        state === "failing" && (
          <span class="faint">
            {" "}
            <When at={failing_since_ms} />
          </span>
        )
      )}
      {waiting > 0 && <span class="faint"> · {m.webhooks.waiting(waiting)}</span>}
    </>
  );
}

/** Shows what was sent to one, or shows it no more. */
function ShowsMessages({ name }: { name: string }) {
  const isShown = route.value.query.get("webhook") === name;
  return (
    <Button aria-pressed={isShown} aria-label={m.webhooks.messagesOf(visible(name))} onClick={() => setQuery({ webhook: isShown ? null : name })}>
      {m.webhooks.messages}
    </Button>
  );
}

function Actions({ app, environments, webhook }: { app: string; environments: string[]; webhook: Webhook }) {
  const { name } = webhook;
  const mayChange = rights.value.can("changeWebhooks", app);
  return (
    <div class="actions">
      <ShowsMessages name={name} />
      {mayChange && (
        <>
          <Opens label={m.webhooks.test} of={name} open={() => openTest({ app, name })} />
          <Opens label={t.settings.change} of={name} open={() => openWebhook({ app, environments, webhook })} />
          {webhook.format === "standard" && <Opens label={m.webhooks.rotate} of={name} open={() => openRotate({ app, name })} />}
          <Opens label={m.webhooks.remove} of={name} open={() => openRemoveWebhook({ app, webhook })} />
        </>
      )}
    </div>
  );
}

function List({ app, environments, list }: { app: string; environments: string[]; list: Webhook[] }) {
  const columns: Column<Webhook>[] = [
    { head: m.webhooks.name, isName: true, cell: (webhook) => <Outside text={webhook.name} /> },
    {
      head: m.webhooks.address,
      cell: (webhook) => (
        <>
          <Outside text={webhook.address} />
          {webhook.format !== "standard" && <Beside text={webhook.format} />}
        </>
      ),
    },
    { head: m.webhooks.events, cell: (webhook) => (webhook.events.length > 0 ? webhook.events.join(", ") : m.webhooks.every) },
    {
      head: m.webhooks.environments,
      cell: (webhook) => (webhook.environments.length > 0 ? <Outside text={webhook.environments.join(", ")} /> : m.webhooks.every),
    },
    { head: m.webhooks.state, cell: (webhook) => <State webhook={webhook} /> },
    { head: t.actions, cell: (webhook) => <Actions app={app} environments={environments} webhook={webhook} /> },
  ];
  return <Table name={t.tabs.webhooks} columns={columns} rows={list} rowKey={(webhook) => webhook.name} />;
}

function messageColumns(app: string, name: string, mayChange: boolean): (Column<Delivery> | false)[] {
  return [
    {
      head: m.webhooks.event,
      isName: true,
      cell: ({ payload }) => (
        <>
          {payload.type}
          <Beside text={payload.data.environment} />
          {payload.data.version && <Beside text={shortId(payload.data.version)} />}
        </>
      ),
    },
    { head: m.webhooks.at, cell: ({ payload }) => <When at={Date.parse(payload.timestamp)} /> },
    { head: m.webhooks.state, cell: (delivery) => <Outcome delivery={delivery} /> },
    { head: m.webhooks.attempts, isFigure: true, cell: ({ attempts }) => String(attempts) },
    { head: m.webhooks.next, cell: ({ next_ms }) => next_ms !== null && <When at={next_ms} /> },
    { head: m.webhooks.answer, class: "value", cell: ({ last }) => last?.answer && <Outside text={last.answer} lines /> },
    mayChange && {
      head: t.actions,
      cell: ({ id, payload }) => <Opens label={m.webhooks.again} of={`${payload.type} ${id}`} open={() => openRedeliver({ app, name, id })} />,
    },
  ];
}

function Messages({ app, name }: { app: string; name: string }) {
  const details = useResource<WebhookDetails>(
    `webhook ${app} ${name}`,
    (signal) => call("GET", path`/v1/apps/${app}/webhooks/${name}`, { query: { limit: MESSAGES }, signal }),
    LOOK_MS,
  );
  const title = m.webhooks.messagesOf(visible(name));
  const columns = messageColumns(app, name, rights.value.can("changeWebhooks", app));
  return (
    <section class="below" aria-labelledby="messages">
      <h2 id="messages">{title}</h2>
      <Loaded of={details}>
        {({ deliveries }) =>
          deliveries.length === 0 ? (
            <p class="faint">{m.webhooks.noMessages}</p>
          ) : (
            <Table name={title} columns={columns} rows={deliveries} rowKey={(delivery) => delivery.id} />
          )
        }
      </Loaded>
    </section>
  );
}

function Webhooks({ app, environments }: { app: string; environments: string[] }) {
  const list = useResource<{ webhooks: Webhook[] }>(
    `webhooks ${app}`,
    (signal) => call("GET", path`/v1/apps/${app}/webhooks`, { signal }),
    LOOK_MS,
  );
  const shown = route.value.query.get("webhook");
  return (
    <>
      <div class="toolbar">
        <p class="faint">{m.webhooks.about}</p>
        {rights.value.can("changeWebhooks", app) && (
          <Opens look="main" label={m.webhooks.add} open={() => openWebhook({ app, environments, webhook: null })} />
        )}
      </div>
      <Loaded of={list}>
        {({ webhooks }) =>
          webhooks.length === 0 ? <Empty title={m.webhooks.none} /> : <List app={app} environments={environments} list={webhooks} />
        }
      </Loaded>
      {shown && list.data?.webhooks.some(({ name }) => name === shown) && <Messages key={shown} app={app} name={shown} />}
    </>
  );
}

export function WebhooksPage({ app }: { app: string }) {
  useTitle(t.tabs.webhooks, app);
  const info = useApp(app);
  return (
    <AppFrame app={app} info={info.data}>
      <Pending of={info} />
      {rights.value.can("seeWebhooks", app) ? <Webhooks app={app} environments={environmentsOf(info.data)} /> : <Empty title={t.forbidden} />}
    </AppFrame>
  );
}
