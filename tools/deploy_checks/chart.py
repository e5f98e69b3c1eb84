"""The chart for Helm: linted and rendered by Helm's own library for each file of values, and held against schemas."""

import json
import re
import shutil
import tarfile

from common import Fault, ROOT, make_certificate, run, version

CHART = ROOT / "deploy/helm/devanture"
VALUES = ROOT / "deploy/helm/ci"
# The first release of Kubernetes that the chart is for, and the newest one whose schemas are known.
KUBERNETES = ["1.30", "1.37"]
# Mistakes that are refused, and a word of the answer.
REFUSED = [
    ({"tls": {"mode": "acme"}}, "termsAgreed"),
    ({"tls": {"mode": "none"}}, "mode"),
    ({"cluster": {"enabled": True, "replicas": 0}}, "replicas"),
    ({"cluster": {"enabled": True, "etcd": {"endpoints": ["etcd:2379"]}}}, "endpoints"),
    ({"autoscaling": {"enabled": True}}, "needs cluster.enabled"),
    ({"domian": "example.app"}, "domian"),
    ({"sealingKey": {"value": "secret"}}, "value"),
]
# What the operator of Prometheus takes of a monitor; the schemas of Kubernetes have none of it.
MONITOR = {
    "type": "object",
    "additionalProperties": False,
    "required": ["selector", "endpoints"],
    "properties": {
        "selector": {"type": "object", "required": ["matchLabels"]},
        "endpoints": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["port", "path", "scheme"],
                "properties": {
                    "port": {"const": "admin"},
                    "path": {"const": "/metrics"},
                    "scheme": {"const": "https"},
                    "interval": {"type": "string"},
                    "relabelings": {"type": "array", "items": {"type": "object", "required": ["targetLabel"]}},
                    "authorization": {"type": "object", "required": ["type", "credentials"]},
                    "tlsConfig": {"type": "object", "required": ["serverName"]},
                },
            },
        },
    },
}


def rendered(values):
    """The manifests of the chart for a file of values or a table of them, by their templates."""
    import helm_python as helm
    import yaml

    table = values if isinstance(values, dict) else yaml.safe_load(values.read_text())
    try:
        with helm.Chart.load(CHART) as chart:
            chart.validate_schema(table)
            texts = chart.render(table, name="devanture", namespace="web")
    except helm.HelmError as error:
        raise Fault(f"the chart cannot be rendered for {values}: {error}") from error
    return {name: text for name, text in texts.items() if name.endswith(".yaml")}


def lint(values, table):
    """Has Helm look for mistakes."""
    import helm_python as helm

    report = helm.lint(CHART, values=table, strict=True, kube_version=f"v{KUBERNETES[0]}.0")
    found = report["errors"] + [message["error"] for message in report["messages"] if message["severity"] > 1]
    if found:
        raise Fault(f"{values.name}: {'; '.join(found)}")


def hold_against_schemas(values, document, folder):
    """Checks one manifest."""
    import jsonschema
    import kubernetes_validate

    name = f"{values.name}: {document['kind']} {document['metadata']['name']}"
    try:
        if document["kind"] == "ServiceMonitor":
            jsonschema.validate(document["spec"], MONITOR)
        elif document["kind"] == "PrometheusRule":
            hold_against_prometheus(document, folder)
        else:
            for version in KUBERNETES:
                kubernetes_validate.validate(document, version, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        raise Fault(f"{name}: {error.message}") from error


def hold_against_prometheus(document, folder):
    """Checks rules, by Prometheus' own tool where it is installed."""
    if not document["spec"]["groups"]:
        raise Fault("there is no group of rules")
    if shutil.which("promtool"):
        rules = folder / "rules.json"
        rules.write_text(json.dumps({"groups": document["spec"]["groups"]}))
        run(["promtool", "check", "rules", rules])


def check_selectors(values, documents):
    """Checks that services, the budget and the policy find the pods of the set."""
    pods = next(one for one in documents if one["kind"] == "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    for document in documents:
        spec = document.get("spec", {})
        selector = {
            "Service": lambda: spec["selector"],
            "PodDisruptionBudget": lambda: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda: spec["podSelector"]["matchLabels"],
        }.get(document["kind"], dict)()
        if not selector.items() <= pods.items():
            raise Fault(f"{values.name}: {document['kind']} {document['metadata']['name']} finds no pod")


def check_edge_toml(programs, values, document, folder):
    """Has the program check the configuration, with the certificates that a pod has."""
    files = folder / "pod"
    for name in ["data", "tls", "keys", "etcd"]:
        (files / name).mkdir(parents=True, exist_ok=True)
    certificate, key = files / "tls/tls.crt", files / "tls/tls.key"
    if not certificate.exists():
        make_certificate(certificate, key, "DNS:*.example.app", "DNS:*.preview.example.app")
    for name in ["ca.crt", "tls.crt", "tls.key"]:
        shutil.copyfile(files / "tls" / name.replace("ca.", "tls."), files / "etcd" / name)
    text = document["data"]["edge.toml"]
    (files / "edge.toml").write_text(re.sub(r'"/(data|tls|keys|etcd)/', rf'"{files}/\1/', text))
    environment = {"DEVANTURE_EDGE_NODE": "devanture-0", "DEVANTURE_EDGE_ADVERTISE": "10.0.0.21"}
    edge = lambda *words: run([programs / "devanture-edge", *words, "--config", files / "edge.toml"], env=environment)
    if "[cluster]" in text:
        # As the container does that joins.
        if not (files / "cluster-ca").exists():
            edge("cluster", "init", "--out", files / "cluster-ca")
        edge("cluster", "join", "--ca", files / "cluster-ca")
    printed = edge("check")
    if not printed.splitlines()[0].endswith("is fine"):
        raise Fault(f"{values.name}: {printed}")


def check_versions():
    """Checks that the chart has the version of the programs."""
    import yaml

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    if {chart["version"], chart["appVersion"]} != {version()}:
        raise Fault(f"Chart.yaml must have the version {version()} of the workspace")
    for name in ["compose.yaml", "compose.cluster.yaml"]:
        if f"devanture-edge:{version()}" not in (ROOT / "deploy" / name).read_text():
            raise Fault(f"deploy/{name} must name the image of the version {version()}")


def check_refused():
    """Checks that mistakes are found before anything is installed."""
    for table, word in REFUSED:
        try:
            rendered(table)
        except Fault as fault:
            if word not in str(fault):
                raise Fault(f"{table} is refused without a word about {word}: {fault}") from fault
        else:
            raise Fault(f"{table} is not refused")


def check_package(folder):
    """Checks that the packaged chart gives what its folder gives."""
    import helm_python as helm

    path = run([ROOT / "tools/package-chart", folder / "chart"]).strip()
    with helm.Chart.load(path) as chart:
        texts = chart.render({}, name="devanture", namespace="web")
    if {name: text for name, text in texts.items() if name.endswith(".yaml")} != rendered({}):
        raise Fault("the packaged chart gives other manifests than its folder")


def check_ignored(folder):
    """Checks that the package leaves out what .helmignore names, and nothing else."""
    chart = folder / "with-leftovers"
    shutil.copytree(CHART, chart)
    with (chart / ".helmignore").open("a") as ignored:
        ignored.write("# What follows is for this check.\n\n/notes.md\nfiles/*.bak\nscratch/\n")
    left_out = ["values.yaml.orig", "templates/a.swp", ".git/config", "notes.md", "files/rules.bak", "files/scratch/x"]
    kept = ["templates/notes.md", "rules.bak", "templates/scratch", "files/deep/rules.bak"]
    for name in left_out + kept:
        (chart / name).parent.mkdir(parents=True, exist_ok=True)
        (chart / name).write_text("")
    with tarfile.open(run([ROOT / "tools/package-chart", folder / "ignored", chart]).strip()) as archive:
        names = {name.removeprefix(f"{CHART.name}/") for name in archive.getnames()}
    of_chart = {str(path.relative_to(CHART)) for path in CHART.rglob("*") if path.is_file()}
    if names != of_chart | set(kept):
        raise Fault(f"the package of the chart differs from .helmignore in {sorted(names ^ (of_chart | set(kept)))}")


def check(programs, folder):
    """The whole check."""
    import yaml

    check_versions()
    check_package(folder)
    check_ignored(folder)
    found = sorted(VALUES.glob("*.yaml"))
    for values in found:
        lint(values, yaml.safe_load(values.read_text()))
        documents = [one for text in rendered(values).values() for one in yaml.safe_load_all(text) if one]
        for document in documents:
            hold_against_schemas(values, document, folder)
            if document["kind"] == "ConfigMap":
                check_edge_toml(programs, values, document, folder)
        check_selectors(values, documents)
        yield f"the chart with {values.name}: {len(documents)} manifests, and a configuration that an edge takes"
    check_refused()
    yield f"the chart refuses {len(REFUSED)} mistakes"
