// A real edge of this build, with the console installed, for as long as a file of tests runs.
import { execFile, spawn } from "node:child_process";
import fs from "node:fs";
import https from "node:https";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? path.join(root, "target");
const programs = process.env.CONSOLE_PROGRAMS ?? path.join(target, "debug");
const consolePackage = process.env.CONSOLE_PACKAGE ?? path.join(target, "console", "console.tar.gz");
/** The longest time for anything on a slow machine. */
export const LONGEST_MS = Number(process.env.CONSOLE_LONGEST_MS ?? 60_000);

export const ACCOUNT = { name: "ada", password: "correct horse battery staple" };

/** Runs a program to its end; gives its standard output, and fails with what it wrote unless `code` is expected. */
function run(program, args, { input = "", code = 0, ...options } = {}) {
  return new Promise((resolve, reject) => {
    const child = execFile(program, args, { maxBuffer: 16 * 1024 * 1024, timeout: 4 * LONGEST_MS, ...options }, (error, out, err) => {
      const exit = error ? error.code : 0;
      if (exit === code) resolve(out);
      else reject(new Error(`${path.basename(program)} ${args.join(" ")} exited with ${exit}:\n${out}\n${err}`));
    });
    child.stdin.on("error", () => {});
    child.stdin.end(input);
  });
}

/** The beginning of edge.toml; what follows is of [upstreams] until another table begins. */
const TOML = `data_dir = "data"
domain = "localhost"
preview_domain = "localhost"
[listen]
https = "127.0.0.1:0"
admin = "127.0.0.1:0"
[tls]
mode = "self-signed"
[upstreams]
allow = ["127.0.0.0/8"]
`;

/** A folder that goes with its edge. The users that backends run as have to pass it. */
function temporary() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "devanture-console-"));
  fs.chmodSync(folder, 0o711);
  return folder;
}

/** The files of the shop with a page of this title and a cart, which `server` answers and a switch waits for. */
export function withCart(title, server) {
  return {
    "www/index.html": `<!doctype html><title>${title}</title>`,
    "devanture.toml": [
      'app = "shop"',
      'www = "www"',
      "[[routes]]",
      'path = "/api/*"',
      `to = "http://127.0.0.1:${server.address().port}"`,
      "timeout_ms = 300000",
      "[[smoke]]",
      'path = "/api/cart"',
      "timeout_ms = 300000",
      "",
    ].join("\n"),
  };
}

export class Edge {
  /** An edge alone, with the console, a token and an account; `more` is added to its configuration. */
  static async start(more = "") {
    const edge = new Edge(temporary(), TOML + more);
    try {
      await edge.listen();
      await edge.furnish();
    } catch (error) {
      await edge.stop();
      throw error;
    }
    return edge;
  }

  /** An edge with its files in a folder, not started yet. */
  constructor(folder, toml, environment = {}) {
    this.folder = folder;
    this.environment = environment;
    this.config = path.join(folder, "edge.toml");
    fs.mkdirSync(folder, { recursive: true });
    fs.writeFileSync(this.config, toml);
  }

  async furnish() {
    await this.own("console", "install", consolePackage);
    this.token = (await this.own("token", "create", "--name", "tests", "--scope", "admin")).trim();
    await this.account(ACCOUNT.name, "admin");
  }

  /** Starts it; it is there when this returns. */
  async listen() {
    const log = fs.openSync(path.join(this.folder, "edge.log"), "a");
    this.process = spawn(path.join(programs, "devanture-edge"), ["--config", this.config], {
      stdio: ["ignore", "pipe", log],
      env: { ...process.env, ...this.environment },
    });
    fs.closeSync(log);
    const line = await new Promise((resolve, reject) => {
      let text = "";
      const timer = setTimeout(() => reject(new Error("the edge is not ready")), 2 * LONGEST_MS);
      this.process.stdout.on("data", (piece) => {
        text += piece;
        if (text.includes("\n")) {
          clearTimeout(timer);
          resolve(text.split("\n")[0]);
        }
      });
      this.process.on("error", (error) => {
        clearTimeout(timer);
        reject(error);
      });
      this.process.on("exit", () => {
        clearTimeout(timer);
        reject(new Error(`the edge did not start: ${fs.readFileSync(path.join(this.folder, "edge.log"), "utf8").slice(-2000)}`));
      });
    });
    const ready = JSON.parse(line);
    this.admin = Number(ready.admin.split(":").pop());
    this.https = Number(ready.https.split(":").pop());
    this.origin = `https://localhost:${this.admin}`;
    this.agent = new https.Agent({ keepAlive: true, maxSockets: 8, rejectUnauthorized: false });
  }

  /** A command of the edge's own, by its socket. */
  own(...args) {
    return run(path.join(programs, "devanture-edge"), [...args, "--config", this.config], { env: { ...process.env, ...this.environment } });
  }

  account(name, scope, ...rest) {
    const args = ["account", "create", "--name", name, "--scope", scope, ...rest, "--config", this.config];
    return run(path.join(programs, "devanture-edge"), args, { input: `${ACCOUNT.password}\n` });
  }

  /** The command line, with the tests' token. */
  devanture(args, { code = 0, cwd = this.folder } = {}) {
    const env = {
      PATH: process.env.PATH,
      HOME: this.folder,
      DEVANTURE_URL: this.origin,
      DEVANTURE_TOKEN: this.token,
      DEVANTURE_CA: path.join(this.folder, "data", "tls", "ca.pem"),
    };
    return run(path.join(programs, "devanture"), args, { env, cwd, code });
  }

  /** A folder of a site: file names with their content. */
  site(files) {
    const folder = fs.mkdtempSync(path.join(this.folder, "site-"));
    for (const [name, content] of Object.entries(files)) {
      fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
      fs.writeFileSync(path.join(folder, name), content);
    }
    return folder;
  }

  /** Pushes a page; gives the report. */
  async push(app, content, ...args) {
    const folder = this.site({ "index.html": `<!doctype html><title>${content}</title><h1>${content}</h1>`, "style.css": "h1{color:#222}" });
    return JSON.parse(await this.devanture(["push", folder, "--app", app, "--json", ...args]));
  }

  /** A call of the API with the tests' token. */
  api(method, where, { body, headers = {}, raw } = {}) {
    const content = raw ?? (body === undefined ? undefined : Buffer.from(JSON.stringify(body)));
    const fields = { authorization: `Bearer ${this.token}`, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers };
    if (content) fields["content-length"] = content.length;
    return new Promise((resolve, reject) => {
      const request = https.request(
        { agent: this.agent, host: "127.0.0.1", port: this.admin, servername: "localhost", method, path: where, headers: { host: `localhost:${this.admin}`, ...fields } },
        (response) => {
          let text = "";
          response.setEncoding("utf8");
          response.on("data", (piece) => (text += piece));
          response.on("end", () => {
            let json;
            try {
              json = JSON.parse(text);
            } catch {
              json = undefined;
            }
            resolve({ status: response.statusCode, json, text });
          });
        },
      );
      request.on("error", reject);
      request.end(content);
    });
  }

  /** What is live in an environment. */
  async live(app, env = "prod") {
    return (await this.api("GET", `/v1/apps/${app}/environments/${env}`)).json.version;
  }

  /** Ends it as a crash does. */
  async kill() {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGKILL");
    await ended;
  }

  async stop() {
    this.agent?.destroy();
    if (this.process?.pid && this.process.exitCode === null && this.process.signalCode === null) {
      const ended = new Promise((resolve) => this.process.once("exit", resolve));
      this.process.kill("SIGTERM");
      const timer = setTimeout(() => this.process.kill("SIGKILL"), 20_000);
      await ended;
      clearTimeout(timer);
    }
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Three edges of one cluster, with an etcd and an S3 store. */
export class Cluster {
  static async start() {
    const cluster = new Cluster();
    cluster.folder = temporary();
    try {
      await cluster.#start();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  nodes = [];

  async #start() {
    const stores = await this.#startStores();
    const ca = path.join(this.folder, "ca");
    await run(path.join(programs, "devanture-edge"), ["cluster", "init", "--out", ca]);
    for (const name of ["edge-1", "edge-2", "edge-3"]) {
      const toml = `node = "${name}"\n${TOML}${membership(stores)}`;
      const [AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY] = stores.key;
      const node = new Edge(path.join(this.folder, name), toml, { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY });
      node.name = name;
      await run(path.join(programs, "devanture-edge"), ["cluster", "join", "--ca", ca, "--config", node.config]);
      this.nodes.push(node);
    }
    await Promise.all(this.nodes.map((node) => node.listen()));
    await this.nodes[0].furnish();
    for (const node of this.nodes) node.token = this.nodes[0].token;
  }

  async #startStores() {
    this.stores = spawn("python3", [path.join(root, "tools", "stores.py"), this.folder], { stdio: ["pipe", "pipe", "pipe"] });
    let out = "";
    let err = "";
    this.stores.stderr.on("data", (piece) => (err += piece));
    return new Promise((resolve, reject) => {
      this.stores.once("error", reject);
      this.stores.once("exit", () => reject(new Error(`etcd and the store did not start: ${err}`)));
      this.stores.stdout.on("data", (piece) => {
        out += piece;
        if (out.includes("\n")) resolve(JSON.parse(out));
      });
    });
  }

  async stop() {
    await Promise.all(this.nodes.map((node) => node.stop()));
    if (this.stores?.pid && this.stores.exitCode === null) {
      const ended = new Promise((resolve) => this.stores.once("exit", resolve));
      // They end with it.
      this.stores.stdin.end();
      await ended;
    }
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

/** What the configuration of a node adds. */
function membership({ etcd, store }) {
  return `[catalog]
kind = "etcd"
endpoints = ["http://127.0.0.1:${etcd}"]
[blobs]
kind = "s3"
bucket = "www"
region = "us-east-1"
endpoint = "http://127.0.0.1:${store}"
[cluster]
advertise = "127.0.0.1:0"
lease_s = 3
`;
}
