"""What tools/check-dashboards looks at: an edge with every kind of app, a cluster of three, requests and pushes to both,
and a Prometheus that scrapes them. All of it is in one folder, on ports of loopback, and ends with its `World`.
"""

import concurrent.futures
import http.client
import http.server
import json
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

from common import CLIENT, EDGE, Edge, LOCAL_TOML, SELF_SIGNED_TOML, free_ports, make_certificate, run, until
from stores import START_SECONDS_MAX, Stores

# Figures are wanted within seconds.
SCRAPE_SECONDS = 1
# Requests that one round of visitors makes of each app.
REQUESTS_PER_ROUND = 2

# What all of them have, behind what is of [listen].
SHARED = """\
[access_log]
format = "json"
to = "access.log"
[upstreams]
allow = ["127.0.0.0/8"]
[watch]
before_s = 10
requests_min = 1
errors_min = 1
"""
ALONE = """\
[tls]
mode = "files"
certificate = "certificate.pem"
key = "key.pem"
[runner]
enabled = true
path = "/usr/bin:/bin"
[limits.apps.busy]
requests_per_app_max = 1
"""
MEMBER = SELF_SIGNED_TOML + """\
[catalog]
kind = "etcd"
endpoints = ["http://127.0.0.1:{etcd}"]
[blobs]
kind = "s3"
bucket = "www"
region = "us-east-1"
endpoint = "http://127.0.0.1:{store}"
[cluster]
advertise = "127.0.0.1:0"
lease_s = 3
"""

# The backend that the edge runs itself: it answers, and says that it is well.
SERVER = """\
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"from an instance"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


class Backend(http.server.BaseHTTPRequestHandler):
    """A backend that is no affair of the edge: it answers, with an error now and then."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status = 500 if self.path.endswith("/fails") else 200
        if self.path.endswith("/slow"):
            time.sleep(0.2)
        self.send_response(status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Node(Edge):
    """An edge of a world, which ends with it."""

    def __init__(self, world, name, toml):
        super().__init__(world.folder / name, f'node = "{name}"\n{LOCAL_TOML}{toml}', world.environment)
        self.name = name
        world.edges.append(self)

    def push(self, world, app, *more):
        """Pushes an app by the command line; says why where it does not go live."""
        environment = world.environment | self.client_environment(self.pushing)
        command = [CLIENT, "push", "--json", "--allow-warnings", *more]
        done = subprocess.run(command, cwd=world.folder / "apps" / app, env=environment, capture_output=True, text=True)
        if done.returncode != 0 and app != "draft":
            print(f"  {self.name}: {app}: {done.stdout.strip()}", flush=True)

    def visit(self, host, path):
        """The status of an answer to a visitor; None where there is none."""
        context = ssl.create_default_context()
        # A certificate for the name is not what is looked at here.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPConnection("127.0.0.1", self.https, timeout=10)
        try:
            plain = socket.create_connection(("127.0.0.1", self.https), timeout=10)
            connection.sock = context.wrap_socket(plain, server_hostname=host)
            connection.request("GET", path, headers={"Host": f"{host}:{self.https}"})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except OSError:
            return None
        finally:
            connection.close()

    def ask(self, method, path, token, body=None):
        """The body of an answer of the API; that of a refusal is as good."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        body = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"https://localhost:{self.admin}{path}", body, headers, method=method)
        context = ssl.create_default_context(cafile=str(self.ca))
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def speak_plainly(self):
        """Sends a request where a handshake is wanted."""
        with socket.create_connection(("127.0.0.1", self.https), timeout=10) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            plain.recv(1)


class World(Stores):
    """Everything that runs for the check; a context that ends all of it."""

    def __init__(self, folder):
        super().__init__(folder)
        self.edges = []
        self.backend = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
        threading.Thread(target=self.backend.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        # Edges end their instances.
        with concurrent.futures.ThreadPoolExecutor(len(self.edges) or 1) as at_once:
            list(at_once.map(Edge.end, self.edges))
        super().__exit__()
        self.backend.shutdown()

    def write_apps(self):
        """The apps: of files, with backends, with checks before and after a switch, and one that nobody may visit much."""
        port = self.backend.server_address[1]
        (closed,) = free_ports(1)
        gone = f'[[routes]]\npath = "/gone/*"\nto = "http://127.0.0.1:{closed}"\n'
        routes = f'[[routes]]\npath = "/api/*"\nto = "http://127.0.0.1:{port}"\n' + gone
        smoke = '[[smoke]]\npath = "/"\n'
        server = '[server]\ndir = "server"\ncommand = ["python3", "server.py"]\nroutes = ["/api/*"]\npersist = "data"\n'
        self.write_app("shop", routes + smoke)
        self.write_app("busy", routes)
        self.write_app("game", server + gone)
        # Every push of it fails, as a page is missing.
        self.write_app("draft", '[[smoke]]\npath = "/missing"\n')
        folder = self.folder / "apps" / "game" / "server"
        folder.mkdir()
        (folder / "server.py").write_text(SERVER)

    def write_app(self, app, toml):
        www = self.folder / "apps" / app / "www"
        www.mkdir(parents=True)
        (www.parent / "devanture.toml").write_text(f'app = "{app}"\nwww = "www"\n{toml}')
        self.change(app, 0)

    def change(self, app, number):
        """Another content for the app: a page, a large script under a new name, and the same style."""
        www = self.folder / "apps" / app / "www"
        for old in www.glob("app.*.js"):
            old.unlink()
        (www / f"app.{number:07d}f.js").write_text("".join(f"export const a{i} = {i + number};\n" for i in range(4_000)))
        (www / "style.css").write_text("body { color: black }\n" * 200)
        (www / "index.html").write_text(f"<!doctype html><title>{app}</title><p>number {number}</p>")

    def start_prometheus(self, rules, targets):
        """Scrapes the nodes of `targets`, which are by the name of their job."""
        jobs = []
        for job, nodes in targets.items():
            for node in nodes:
                secret = self.folder / f"{node.name}.token"
                secret.write_text(node.token("read"))
                jobs.append({
                    "job_name": f"{job}-{node.name}",
                    "scheme": "https",
                    "authorization": {"credentials_file": str(secret)},
                    "tls_config": {"ca_file": str(node.ca), "server_name": "localhost"},
                    "static_configs": [{"targets": [f"127.0.0.1:{node.admin}"]}],
                    # One authority each, so that each has a job; they are one all the same.
                    "relabel_configs": [
                        {"target_label": "job", "replacement": job},
                        {"target_label": "instance", "replacement": node.name},
                    ],
                })
        times = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"}
        configuration = self.folder / "prometheus.yml"
        # JSON is YAML.
        configuration.write_text(json.dumps({"global": times, "rule_files": [str(rules)], "scrape_configs": jobs}))
        (port,) = free_ports(1)
        command = ["prometheus", f"--config.file={configuration}", f"--web.listen-address=127.0.0.1:{port}"]
        command += ["--storage.tsdb.path=data", "--log.level=warn"]
        self.start("prometheus", command, self.folder / "prometheus")
        self.prometheus = f"http://127.0.0.1:{port}"
        ready = lambda: urllib.request.urlopen(f"{self.prometheus}/-/ready", timeout=5).status == 200
        until("the start of Prometheus", START_SECONDS_MAX, ready)
        return self.prometheus

    def start_nodes(self):
        """An edge alone, and three nodes of a cluster."""
        self.write_apps()
        alone = Node(self, "alone", 'http = "127.0.0.1:0"\n' + SHARED + ALONE)
        # Files, so that there is an end of a certificate to look at.
        alone.ca = alone.folder / "certificate.pem"
        make_certificate(alone.ca, alone.folder / "key.pem", "DNS:localhost", "DNS:*.localhost", "IP:127.0.0.1")
        etcd, store = self.start_etcd(), self.start_store()
        run([EDGE, "cluster", "init", "--out", self.folder / "ca"])
        members = []
        for name in ["edge-1", "edge-2", "edge-3"]:
            member = Node(self, name, SHARED + MEMBER.format(etcd=etcd, store=store))
            run([EDGE, "cluster", "join", "--ca", self.folder / "ca", "--config", member.config])
            members.append(member)
        with concurrent.futures.ThreadPoolExecutor(4) as at_once:
            for started in [at_once.submit(node.start) for node in [alone, *members]]:
                started.result()
        alone.pushing, shared = alone.token("admin"), members[0].token("admin")
        for member in members:
            member.pushing = shared
        return alone, members

    def visit_all(self, node, apps):
        """A round of visitors, some of whom ask for what is not there or fails."""
        asked = [
            (app, path)
            for app in apps
            for path in ["/", "/style.css", "/missing", "/api/x", "/api/slow", "/api/fails", "/gone/x"]
        ]
        with concurrent.futures.ThreadPoolExecutor(8) as at_once:
            return list(at_once.map(lambda one: node.visit(f"{one[0]}.localhost", one[1]), asked * REQUESTS_PER_ROUND))
