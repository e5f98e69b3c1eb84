// The console begins here: the session first, then the page that the address names.
import { signal } from "@preact/signals";
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Problem } from "./api.ts";
import { problemFrom } from "./client.ts";
import { startConfirmation, startOver } from "./dialogs/session.tsx";
import { AppPage } from "./pages/app.tsx";
import { AppsPage } from "./pages/apps.tsx";
import { DeploysPage } from "./pages/deploys.tsx";
import { route, startRouter, to } from "./router.ts";
import { isOver, loadSession, session, startState } from "./state.ts";
import { t } from "./texts.ts";
import { Empty, Heading, ProblemBox } from "./ui/basics.tsx";
import { Shell, useTitle } from "./ui/frame.tsx";
import "./style/base.css";
import "./style/parts.css";
import "./style/dialogs.css";
import "./style/pages.css";
import "./style/narrow.css";

function Missing() {
  useTitle(t.missing.title);
  return (
    <>
      <Heading>{t.missing.title}</Heading>
      <p>
        <a href={to("apps")}>{t.missing.home}</a>
      </p>
    </>
  );
}

type More = typeof import("./pages/more.ts");

const more = signal<More | null>(null);
const moreProblem = signal<Problem | null>(null);

function loadMore(): void {
  import("./pages/more.ts").then(
    (pages) => {
      more.value = pages;
    },
    () => {
      const detail = t.problem.unloaded;
      moreProblem.value = { title: detail, status: 0, code: "console", detail, hint: t.problem.unloadedHint };
    },
  );
}

type AppPages = "ComparePage" | "PreviewsPage" | "TrafficPage" | "RequestsPage" | "HostnamesPage" | "SettingsPage" | "BackendPage" | "ProtectionPage" | "SigningPage" | "PinsPage" | "IntegrityPage" | "WebhooksPage" | "AppTokensPage" | "UpkeepPage";

const OF_APPS: Record<string, AppPages> = {
  compare: "ComparePage",
  previews: "PreviewsPage",
  traffic: "TrafficPage",
  requests: "RequestsPage",
  hostnames: "HostnamesPage",
  settings: "SettingsPage",
  backend: "BackendPage",
  protection: "ProtectionPage",
  signing: "SigningPage",
  pins: "PinsPage",
  integrity: "IntegrityPage",
  webhooks: "WebhooksPage",
  apptokens: "AppTokensPage",
  upkeep: "UpkeepPage",
};

const OF_THE_EDGE: Record<string, "NodesPage" | "AuditPage" | "TokensPage" | "AccountPage"> = {
  nodes: "NodesPage",
  audit: "AuditPage",
  tokens: "TokensPage",
  account: "AccountPage",
};

function Page() {
  const { page, params } = route.value;
  const app = params["app"] ?? "";
  if (page === "apps") return <AppsPage />;
  if (page === "app") return <AppPage key={app} app={app} />;
  if (page === "deploys") return <DeploysPage key={app} app={app} />;
  const ofApp = OF_APPS[page];
  const ofEdge = OF_THE_EDGE[page];
  if (!ofApp && !ofEdge) return <Missing />;
  if (moreProblem.value) return <ProblemBox problem={moreProblem.value} again={() => location.reload()} />;
  if (!more.value) return <p class="pending">{t.loading}</p>;
  if (ofApp) {
    const Found = more.value[ofApp];
    return <Found key={`${ofApp} ${app}`} app={app} />;
  }
  const Found = ofEdge && more.value[ofEdge];
  return Found ? <Found /> : <Missing />;
}

function Console() {
  const [problem, setProblem] = useState<Problem | null>(null);
  const begin = () => {
    setProblem(null);
    loadSession().catch((error: unknown) => setProblem(problemFrom(error)));
  };
  useEffect(begin, []);
  if (isOver.value) {
    return (
      <main id="main" class="alone">
        <Empty title={t.over.title}>
          <p>
            <a href={to("apps")} rel="external" target="_self">
              {t.over.again}
            </a>
          </p>
        </Empty>
      </main>
    );
  }
  if (session.value === null) {
    return (
      <main id="main" class="alone">
        {problem ? <ProblemBox problem={problem} again={begin} /> : <p class="pending">{t.loading}</p>}
      </main>
    );
  }
  return (
    <Shell>
      <Page />
    </Shell>
  );
}

startState();
startRouter();
startConfirmation();
startOver();
loadMore();
const root = document.getElementById("root");
if (root) render(<Console />, root);
