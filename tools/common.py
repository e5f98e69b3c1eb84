"""What the tools in this folder have in common: where things are, running programs, waiting, and edges of this machine."""

import json
import os
import pathlib
import socket
import subprocess
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# The programs that checks are made with.
PROGRAMS = TARGET / "debug"
EDGE, CLIENT = PROGRAMS / "devanture-edge", PROGRAMS / "devanture"
# Folders that tools/needs installs into.
TOOLS = TARGET / "tools"
DEPLOY_PACKAGES = TOOLS / "deploy"

POLL_SECONDS = 0.1
# The drain of an edge, and some air.
END_SECONDS_MAX = 60

# The beginning of edge.toml, with ports that are free; what follows is of [listen] until another table begins.
LOCAL_TOML = """\
data_dir = "data"
domain = "localhost"
preview_domain = "localhost"
[listen]
https = "127.0.0.1:0"
admin = "127.0.0.1:0"
"""
SELF_SIGNED_TOML = """\
[tls]
mode = "self-signed"
"""


class Fault(Exception):
    """Something is not as it must be."""


def version():
    """The version of the workspace."""
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def run(command, **options):
    """Runs a program; gives its standard output, or fails with what it wrote."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "check": False} | options
    ran = subprocess.run([str(word) for word in command], **options)
    if ran.returncode != 0:
        words = " ".join(str(word) for word in command)
        raise Fault(f"{words} exited with {ran.returncode}:\n{ran.stdout or ''}{ran.stderr or ''}")
    return ran.stdout


def until(what, seconds, attempt):
    """Repeats an attempt until it gives something; fails with its last fault when it takes too long."""
    end = time.monotonic() + seconds
    fault = None
    while time.monotonic() < end:
        try:
            if found := attempt():
                return found
        except (Fault, OSError, LookupError) as error:
            fault = error
        time.sleep(POLL_SECONDS)
    raise Fault(f"{what} took more than {seconds} s" + (f": {fault}" if fault else ""))


def free_ports(count):
    """Different ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def make_certificate(certificate, key, *names):
    """Makes a certificate for these alternative names, such as DNS:localhost, and its key; it signs itself."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    command += ["-subj", "/CN=a check of Devanture", "-addext", f"subjectAltName={','.join(names)}"]
    run([*command, "-keyout", key, "-out", certificate])
    key.chmod(0o600)


class Edge:
    """An edge in a folder of its own; it runs from `start` to `end`, or as long as a `with` block."""

    def __init__(self, folder, toml, environment=None):
        self.folder, self.environment = folder, environment
        self.process = None
        folder.mkdir(exist_ok=True)
        self.config, self.log = folder / "edge.toml", folder / "edge.log"
        # What signs for the listeners, unless they have certificates of files.
        self.ca = folder / "data" / "tls" / "ca.pem"
        self.config.write_text(toml)

    def start(self):
        """Returns when it is ready, with the ports that it has."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [EDGE, "--config", self.config], stdout=subprocess.PIPE, stderr=log, text=True, env=self.environment
            )
        line = self.process.stdout.readline()
        if not line:
            self.end()
            raise Fault(f"the edge in {self.folder} did not start: {self.log.read_text()[-2000:]}")
        ready = json.loads(line)
        self.https, self.admin = (int(ready[name].rsplit(":", 1)[1]) for name in ("https", "admin"))
        return self

    def end(self):
        """Ends it by a drain, if it was started; gives its exit code."""
        if self.process is None:
            return None
        self.process.terminate()
        try:
            return self.process.wait(timeout=END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.end()

    def token(self, scope):
        """Makes a token."""
        made = run([EDGE, "token", "create", "--config", self.config, "--name", "check", "--scope", scope])
        return made.strip()

    def client_environment(self, token):
        """The variables by which the command line finds it."""
        return {
            "DEVANTURE_URL": f"https://localhost:{self.admin}",
            "DEVANTURE_TOKEN": token,
            "DEVANTURE_CA": str(self.ca),
        }
