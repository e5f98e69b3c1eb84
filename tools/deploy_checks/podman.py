"""A podman of its own: store, networks and settings in one folder, for any machine whose root may run containers."""

import os
import pathlib
import resource
import shutil

from common import TOOLS, run

# What /usr/lib/podman lacks where Debian's podman has older networks; tools/needs puts it here.
HELPERS = TOOLS / "compose/usr/lib/podman"
# Releases of Debian have it in the one or in the other.
BUSYBOX = next(filter(pathlib.Path.exists, [TOOLS / "compose/bin/busybox", TOOLS / "compose/usr/bin/busybox"]), None)
PROGRAMS = ["podman", "runc", "buildah", "strip", "etcd", "weed", "curl"]


def unusable():
    """Why images can neither be built nor run here; nothing if they can."""
    if os.geteuid() != 0:
        return "only root can build and run images"
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    missing += [] if BUSYBOX else ["busybox-static"]
    missing += [] if HELPERS.exists() else ["netavark"]
    return f"{', '.join(missing)} missing" if missing else None


class Podman:
    """Everything of it ends with the block that it is used in."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = dict(os.environ)

    def __enter__(self):
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.folder.mkdir()
        settings = self.folder / "containers.conf"
        # A machine that is a container itself gives neither more files nor control groups nor a journal.
        settings.write_text(f"""
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "{self.folder}/tmp"
helper_binaries_dir = ["{HELPERS}", "/usr/libexec/podman", "/usr/lib/podman"]
[network]
network_backend = "netavark"
network_config_dir = "{self.folder}/networks"
""")
        storage = self.folder / "storage.conf"
        storage.write_text(f"""
[storage]
driver = "vfs"
graphroot = "{self.folder}/store"
runroot = "{self.folder}/run"
""")
        self.environment |= {"CONTAINERS_CONF": str(settings), "CONTAINERS_STORAGE_CONF": str(storage)}
        return self

    def __exit__(self, *_):
        self.run("rm", "--all", "--force", "--depend", "--time", "0")
        for name in self.run("network", "ls", "--quiet").split():
            if name != "podman":
                self.run("network", "rm", name)

    def run(self, *arguments, **options):
        """Runs a command of podman; gives its output."""
        return run(["podman", *arguments], **{"env": self.environment} | options)

    def build(self, name, lines, programs=()):
        """Builds an image, of programs of this machine and lines of a Containerfile."""
        context = self.folder / "context"
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir()
        for program in programs:
            shutil.copy(program, context)
        (context / "Containerfile").write_text("\n".join(lines) + "\n")
        flags = ["--quiet", "--isolation", "oci", "--network", "none", "--pull=never", "--squash-all"]
        self.run("build", *flags, "--tag", name, context)
