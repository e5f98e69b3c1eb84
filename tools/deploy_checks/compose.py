"""The files for Compose: by their format, and run, with images that are made of programs of this machine."""

import json
import os
import pathlib
import re
import shutil
import sys

from common import DEPLOY_PACKAGES, Fault, ROOT, free_ports, run, until

from .podman import BUSYBOX, Podman

ONE, CLUSTER = ROOT / "deploy/compose.yaml", ROOT / "deploy/compose.cluster.yaml"
# Longest time until everything of a file answers.
START_SECONDS_MAX = 240
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+):-([^}]*)\}")
SITE = {
    "devanture.toml": 'app = "shop"\nwww = "www"\n',
    "www/index.html": "<!doctype html><title>Plants</title><p>A fern.</p>\n",
}
ROUTE = '[[routes]]\npath = "/api/*"\nto = "http://api:3000"\n'


def check_format(path):
    """Reads a file as Compose does; gives its services, with the defaults of all variables."""
    import yaml
    from compose_spec import PyCompose

    # Merge keys are of YAML, which is read before.
    text = VARIABLE.sub(lambda found: found.group(2), path.read_text())
    document = yaml.safe_load(text)
    try:
        PyCompose.from_yaml(yaml.safe_dump(document)).validate()
    except ValueError as error:
        raise Fault(f"{path.name}: {error}") from error
    for name, service in document["services"].items():
        words = service.get("command", [])
        if words[:1] == ["etcd"] and "--auto-compaction-mode=periodic" not in words:
            raise Fault(f"{path.name}: {name} keeps each earlier state of a record for ever")
        if "devanture-edge" not in service["image"]:
            continue
        if not service["read_only"] or service["cap_drop"] != ["ALL"] or "user" in service:
            raise Fault(f"{path.name}: {name} is not confined")
    return document["services"]


def check_edge_tomls(programs):
    """Has the program check the configurations of a single edge; nodes of a cluster have to join first."""
    for name in ["compose/edge.toml", "image/edge.toml"]:
        run([programs / "devanture-edge", "check", "--config", ROOT / "deploy" / name])


class Project:
    """What a file starts, until the block ends."""

    def __init__(self, podman, path, variables):
        self.command = [sys.executable, "-m", "podman_compose", "--file", path]
        self.environment = podman.environment | variables | {"PYTHONPATH": str(DEPLOY_PACKAGES)}
        self.podman = podman

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            for name in self.podman.run("ps", "--all", "--format", "{{.Names}}").split():
                sys.stderr.write(f"-- {name}\n{self.podman.run('logs', '--tail', '20', name, stderr=None)}\n")
        self("down", "--volumes", "--timeout", "2")

    def __call__(self, *words, **options):
        """Runs a command of Compose."""
        return run([*self.command, *words], **{"env": self.environment} | options)


class Visitor:
    """Pushes by the API at a port, and reads."""

    def __init__(self, programs, folder, authority, admin, token):
        self.program, self.folder, self.authority = programs / "devanture", folder, authority
        self.environment = {
            "DEVANTURE_URL": f"https://localhost:{admin}",
            "DEVANTURE_TOKEN": token,
            "DEVANTURE_CA": str(authority),
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
        }

    def push(self, routes=""):
        """Pushes the site."""
        for name, text in SITE.items():
            path = self.folder / "site" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + (routes if name == "devanture.toml" else ""))
        run([self.program, "push"], cwd=self.folder / "site", env=self.environment)

    def read(self, port, path):
        """Gets a page of it."""
        host = f"shop.localhost:{port}"
        checked = ["--fail", "--silent", "--show-error", "--max-time", "60", "--cacert", self.authority]
        return run(["curl", *checked, "--resolve", f"{host}:127.0.0.1", f"https://{host}{path}"])


def visitor(project, podman, programs, folder, container, admin):
    """One who may push, once the edge of a container answers."""
    healthy = lambda: podman.run("exec", container, "devanture-edge", "health", "--ready")
    until(f"the start of {container}", START_SECONDS_MAX, healthy)
    podman.run("healthcheck", "run", container)
    authority = folder / "ca.pem"
    podman.run("cp", f"{container}:/data/edge/tls/ca.pem", authority)
    token = podman.run("exec", container, "devanture-edge", "token", "create", "--name", "ci", "--scope", "push")
    return Visitor(programs, folder, authority, admin, token.strip())


def check_confined(podman, container):
    """Checks that the process of a container is not root, has no rights, and a root that nobody may write to."""
    found = json.loads(podman.run("inspect", container))[0]
    if not found["HostConfig"]["ReadonlyRootfs"] or found["Config"]["User"] != "10001:10001":
        raise Fault(f"{container} runs as {found['Config']['User']}")
    status = pathlib.Path(f"/proc/{found['State']['Pid']}/status").read_text()
    if "Uid:\t10001\t10001\t10001\t10001" not in status or "CapEff:\t0000000000000000" not in status:
        raise Fault(f"the process of {container} is not confined:\n{status}")


def check_one(podman, programs, folder):
    """Runs one edge with a backend."""
    podman.build(
        "localhost/stand-in-backend",
        [
            "FROM scratch",
            "COPY busybox /bin/busybox",
            "COPY hello /www/api/hello",
            'CMD ["/bin/busybox", "httpd", "-f", "-p", "3000", "-h", "/www"]',
        ],
        [BUSYBOX, file_of(folder, "hello", "hello from the backend\n")],
    )
    https, http, admin = map(str, free_ports(3))
    ports = {"HTTPS_PORT": https, "HTTP_PORT": http, "ADMIN_PORT": admin}
    with Project(podman, ONE, ports | {"API_IMAGE": "localhost/stand-in-backend"}) as project:
        project("up", "--detach", "--pull=never")
        client = visitor(project, podman, programs, folder, "devanture_edge_1", admin)
        check_confined(podman, "devanture_edge_1")
        client.push(ROUTE)
        pages = client.read(https, "/"), client.read(https, "/api/hello")
        if pages != (SITE["www/index.html"], "hello from the backend\n"):
            raise Fault(f"the site answers with {pages}")
        project("restart", "edge")
        until("the restart", START_SECONDS_MAX, lambda: client.read(https, "/") == SITE["www/index.html"])


def check_cluster(podman, programs, folder):
    """Runs three edges with etcd and an S3 store."""
    edge = check_format(CLUSTER)["node-1"]["image"]
    # Its C library is that of the edge.
    lines = [f"FROM {edge}", "COPY etcd /usr/bin/etcd", "USER 0", "ENTRYPOINT []"]
    podman.build("localhost/stand-in-etcd", lines, [shutil.which("etcd")])
    podman.build(
        "localhost/stand-in-store",
        [
            "FROM scratch",
            "COPY weed /bin/weed",
            # It is what it is called by; the last one is for the folder.
            *[f"COPY busybox {path}" for path in ["/bin/sh", "/bin/grep", "/bin/sleep", "/tmp/none"]],
            "ENV PATH=/bin",
        ],
        [shutil.which("weed"), BUSYBOX],
    )
    # At once, so that they are different.
    ports = [str(port) for port in free_ports(6)]
    https, admins = ports[:3], ports[3:]
    variables = {"ETCD_IMAGE": "localhost/stand-in-etcd", "SEAWEEDFS_IMAGE": "localhost/stand-in-store"}
    for number in range(3):
        variables |= {f"HTTPS_PORT_{number + 1}": https[number], f"ADMIN_PORT_{number + 1}": admins[number]}
    with Project(podman, CLUSTER, variables) as project:
        project("--profile", "setup", "run", "--rm", "ca")
        project("up", "--detach", "--pull=never")
        client = visitor(project, podman, programs, folder, "devanture-cluster_node-1_1", admins[0])
        for number in [2, 3]:
            visitor(project, podman, programs, folder, f"devanture-cluster_node-{number}_1", admins[number - 1])
        client.push()
        for port in https:
            if client.read(port, "/") != SITE["www/index.html"]:
                raise Fault("a node does not serve what another one took")


def file_of(folder, name, text):
    """A file with a text."""
    path = folder / name
    path.write_text(text)
    return path


def check(programs):
    """Checks the files without running them."""
    for path in [ONE, CLUSTER]:
        check_format(path)
    check_edge_tomls(programs)
    yield "the files for Compose are of its format, and their configurations fine"


def check_running(programs, folder):
    """Runs them with the image that was packaged into `folder`."""
    with Podman(folder / "podman") as podman:
        podman.run("load", "--quiet", "--input", next((folder / "image").glob("*.oci.tar")))
        check_one(podman, programs, folder)
        yield "compose.yaml: an edge that is not root serves a push, passes requests on, and has both after a restart"
        check_cluster(podman, programs, folder)
        yield "compose.cluster.yaml: three nodes serve a push"
