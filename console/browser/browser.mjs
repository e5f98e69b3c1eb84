// The browser of the tests: what goes wrong in a page is noted, and fails the test that opened it.
import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { chromium } from "playwright-core";
import { ACCOUNT, Cluster, Edge, LONGEST_MS } from "./edge.mjs";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage",
];
const axeSource = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const PHONE = { width: 390, height: 844 };
export const DESK = { width: 1280, height: 860 };

function program() {
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    for (const folder of (process.env.PATH ?? "").split(":")) {
      const found = path.join(folder, name);
      if (folder && fs.existsSync(found)) return found;
    }
  }
  throw new Error("chromium is not installed");
}

/** What is ended after the tests of a file, the last first. */
const ends = [];

export function atEnd(run) {
  ends.push(run);
}

/** For `after` of each file. */
export async function end() {
  for (const run of ends.reverse()) await run();
}

/** An edge and a browser; `more` is added to the edge's configuration. */
export async function start(more) {
  const edge = await Edge.start(more);
  atEnd(() => edge.stop());
  return { edge, browser: await launch() };
}

/** The nodes of a cluster, and a browser. */
export async function startCluster() {
  const cluster = await Cluster.start();
  atEnd(() => cluster.stop());
  return { nodes: cluster.nodes, browser: await launch() };
}

async function launch() {
  const browser = await chromium.launch({ executablePath: program(), args: FLAGS, timeout: 2 * LONGEST_MS });
  atEnd(() => browser.close());
  return browser;
}

/** Answers that are refusals by design: their path, and their status. */
const EXPECTED = [
  // The page of the login, and its look whether there is a session.
  [/^\/(console\/.*)?$/, 401],
  [/^\/v1\/session$/, 401],
];

export class Visit {
  static async open(browser, edge, { scheme = "light", viewport = DESK, bypassCSP = false } = {}) {
    const visit = new Visit();
    visit.edge = edge;
    visit.problems = [];
    visit.expected = [...EXPECTED];
    visit.context = await browser.newContext({ ignoreHTTPSErrors: true, colorScheme: scheme, viewport, bypassCSP });
    visit.context.setDefaultTimeout(LONGEST_MS);
    visit.context.setDefaultNavigationTimeout(2 * LONGEST_MS);
    visit.page = await visit.context.newPage();
    visit.watch(visit.page);
    return visit;
  }

  /** Another page of the same browser, at another node. */
  async beside(edge) {
    const visit = new Visit();
    visit.edge = edge;
    visit.problems = this.problems;
    visit.expected = this.expected;
    visit.context = this.context;
    visit.page = await this.context.newPage();
    visit.watch(visit.page);
    return visit;
  }

  watch(page) {
    page.on("pageerror", (error) => this.problems.push(`error: ${error.message}`));
    page.on("console", (message) => {
      // What was refused is looked at below, by its address.
      if (message.type() !== "error" || message.text().startsWith("Failed to load resource")) return;
      this.problems.push(`console: ${message.text()}`);
    });
    page.on("dialog", (dialog) => {
      this.problems.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on("response", (response) => {
      const url = new URL(response.url());
      if (response.status() < 400 || url.origin !== this.edge.origin) return;
      const isExpected = this.expected.some(([where, status]) => where.test(url.pathname) && status === response.status());
      if (!isExpected) this.problems.push(`${response.status()} ${response.request().method()} ${url.pathname}`);
    });
  }

  /** From here on such an answer is a part of the test. */
  expect(where, status) {
    this.expected.push([where, status]);
  }

  async go(where) {
    await until(`the page ${where}`, async () => {
      try {
        await this.page.goto(this.edge.origin + where);
        return true;
      } catch (error) {
        // A container that was started or ended elsewhere on the machine.
        if (error.message.includes("ERR_NETWORK_CHANGED")) return false;
        throw error;
      }
    });
  }

  /** Logs in as a person does, on the page that the edge shows. */
  async logIn(where = "/console/", { account = ACCOUNT.name, token } = {}) {
    await this.go(where);
    if (token) {
      await this.page.getByText("Log in with a token").first().click();
      await this.page.getByLabel("Token").fill(token);
      await this.page.getByRole("button", { name: "Log in with the token" }).click();
    } else {
      await this.page.getByLabel("Account").fill(account);
      await this.page.getByLabel("Password").fill(ACCOUNT.password);
      await this.page.getByRole("button", { name: "Log in", exact: true }).click();
    }
    await this.page.locator("header.bar").waitFor();
    return this;
  }

  heading(name) {
    return this.page.getByRole("heading", { name, level: 1 });
  }

  button(name, within = this.page) {
    return within.getByRole("button", { name });
  }

  dialog() {
    return this.page.locator("dialog[open]").last();
  }

  /** Every dialog is closed. */
  async closed() {
    await until("the dialogs to be closed", async () => (await this.page.locator("dialog").count()) === 0);
  }

  /** Nothing is wider than the window. */
  async fits() {
    const { wide, view } = await this.page.evaluate(() => ({ wide: document.documentElement.scrollWidth, view: innerWidth }));
    assert.ok(wide <= view, `${this.page.url()} is ${wide} wide in a window of ${view}`);
    // What has no room scrolls in its own region, rather than being columns of letters.
    const squeezed = await this.page.evaluate(() =>
      [...document.querySelectorAll(".scroll :is(td, th)")].filter((cell) => cell.textContent.length > 6 && cell.checkVisibility() && cell.clientWidth < 60).map((cell) => cell.textContent),
    );
    assert.deepEqual(squeezed, [], this.page.url());
  }

  /** What axe finds here. The visit bypasses the policy of the page, as the library may be more than that allows. */
  async axe() {
    await this.page.evaluate(axeSource);
    const found = await this.page.evaluate(async () => {
      const result = await globalThis.axe.run(document, { resultTypes: ["violations"], iframes: false });
      return result.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 200)).join(" · ")}`);
    });
    return found.map((one) => `${this.page.url()} ${one}`);
  }

  /** Nothing went wrong until now. */
  clean() {
    assert.deepEqual(this.problems, []);
  }

  async close() {
    this.clean();
    await this.context.close();
  }
}

/** Waits until something holds. */
export async function until(what, attempt) {
  const end = Date.now() + LONGEST_MS;
  for (;;) {
    const found = await attempt();
    if (found) return found;
    if (Date.now() > end) throw new Error(`it took too long: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
