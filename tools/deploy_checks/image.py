"""The container image: its Containerfile, its bytes, what it holds and what it says of itself."""

import json
import pathlib
import subprocess
import tarfile

from common import DEPLOY_PACKAGES, Fault, ROOT, run

# Of the archive, which is what a registry keeps and a machine fetches.
BYTES_MAX = 40_000_000
USER = 10001


def check(programs, folder):
    """The whole check; leaves the archive in `folder`."""
    run([DEPLOY_PACKAGES / "bin/hadolint", ROOT / "deploy/Containerfile"])
    yield "hadolint has nothing to say of the Containerfile"
    first, second = package(programs, folder / "image", folder / "again")
    if first.read_bytes() != second.read_bytes():
        raise Fault("two builds of the image differ")
    size = first.stat().st_size
    if size > BYTES_MAX:
        raise Fault(f"the image takes {size} bytes, and may take {BYTES_MAX}")
    yield f"two builds of the image are equal, {size / 1e6:.1f} MB"
    check_config(first)
    check_files(first)
    yield f"it runs as user {USER}, checks its health, and holds nothing that lends rights"
    check_bill(first)
    yield "its bill of materials is one by the schema of CycloneDX"


def package(programs, *folders):
    """Packages it into each of these folders, at once; gives the archives."""
    command = [ROOT / "tools/package-image", programs]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    running = [subprocess.Popen([*command, folder], **options) for folder in folders]
    archives = []
    for packaging in running:
        printed, _ = packaging.communicate()
        if packaging.returncode != 0:
            raise Fault(f"tools/package-image failed: {printed}")
        archives.append(pathlib.Path(printed.strip().split("\n")[-1]))
    return archives


def parts(archive):
    """The configuration of the image, and its layers as open archives."""
    with tarfile.open(archive) as packed:
        read = lambda name: packed.extractfile(name)
        of_digest = lambda one: read("blobs/" + one["digest"].replace(":", "/"))
        manifest = json.load(of_digest(json.load(read("index.json"))["manifests"][0]))
        config = json.load(of_digest(manifest["config"]))["config"]
        members = [tarfile.open(fileobj=of_digest(layer)).getmembers() for layer in manifest["layers"]]
    return config, [member for layer in members for member in layer]


def check_config(archive):
    """Checks what the image says of itself."""
    config, _ = parts(archive)
    expected = {
        "User": f"{USER}:{USER}",
        "Volumes": {"/config": {}, "/data": {}},
        "Entrypoint": ["/usr/bin/devanture-edge"],
        "StopSignal": "SIGTERM",
    }
    for name, value in expected.items():
        if config.get(name) != value:
            raise Fault(f"{name} of the image is {config.get(name)}, not {value}")
    if config.get("Healthcheck", {}).get("Test") != ["CMD", "/usr/bin/devanture-edge", "health"]:
        raise Fault(f"the image has no check of health: {config}")


def check_files(archive):
    """Checks that nobody but root may change the program, and that nothing is set-user-id."""
    _, members = parts(archive)
    for member in members:
        is_own = member.uid == USER and member.name.strip("./").split("/")[0] in ["data", "config"]
        if member.mode & 0o6000 or (member.uid != 0 and not is_own):
            raise Fault(f"{member.name} of the image has the mode {member.mode:o} and the user {member.uid}")
        if member.mode & 0o002 and member.name.strip("./") != "tmp":
            raise Fault(f"{member.name} of the image may be written by everybody")
    names = {member.name.strip("./") for member in members}
    needed = {"usr/bin/devanture-edge", "etc/ssl/certs/ca-certificates.crt", "usr/share/doc/devanture-edge/sbom.cdx.json"}
    if not needed <= names:
        raise Fault(f"the image lacks {needed - names}")


def check_bill(archive):
    """Holds the bill of materials against the schema."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    bill = archive.with_name(archive.name.removesuffix(".oci.tar") + ".cdx.json").read_text()
    if fault := JsonStrictValidator(SchemaVersion.V1_5).validate_str(bill):
        raise Fault(f"the bill of materials is none: {fault}")
    names = {component["name"] for component in json.loads(bill)["components"]}
    if not {"rustls", "libc6", "ca-certificates"} <= names:
        raise Fault("the bill of materials lacks crates or packages of Debian")
