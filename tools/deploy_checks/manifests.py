"""Files that are made from others: the manifests of Kubernetes from the chart, and the chart's copy of the rules."""

import re

from common import Fault, ROOT

from .chart import CHART, rendered

HEADS = {
    "kubernetes.yaml": (
        "one-node.yaml",
        "An edge in Kubernetes (1.30 or later), for those who do not use the chart in deploy/helm, from which this is\n"
        "# made (tools/check-deploy --write). Change what is marked with CHANGE; docs/containers.md has the commands.",
    ),
    "kubernetes-cluster.yaml": (
        "cluster.yaml",
        "Three edges of one cluster in Kubernetes (1.30 or later), for those who do not use the chart in deploy/helm,\n"
        "# from which this is made (tools/check-deploy --write). Change what is marked with CHANGE; docs/containers.md has\n"
        "# the commands. etcd and the bucket are services of their own, which this does not make.",
    ),
}
# In the order in which they are read: what is configured, what runs, how it is reached.
KINDS = ["ConfigMap", "Secret", "StatefulSet", "PodDisruptionBudget", "Service", "NetworkPolicy"]
# Lines that say that Helm has installed it.
OF_HELM = re.compile(r"^ *(helm\.sh/chart|app\.kubernetes\.io/(managed-by|version)): ")
# What is another one for everybody.
EXAMPLES = re.compile(
    r"example\.(app|org)|^ *(bucket|region) = |endpoints = |secretName: devanture-(tls|etcd)|: devanture-bucket"
    r"|storage: "
)
RULES = ROOT / "deploy/prometheus/rules.yaml"
COPY_OF_RULES = CHART / "files/rules.yaml"


def kind_of(document):
    """The kind of a manifest."""
    return re.search(r"^kind: (\w+)$", document, re.MULTILINE).group(1)


def marked(line):
    """A line without what is of Helm alone, with the mark if it has to be changed."""
    return line + "    # CHANGE" if EXAMPLES.search(line) else line


def manifest(values, head):
    """The manifest that the chart gives for a file of values."""
    texts = rendered(ROOT / "deploy/helm/ci" / values)
    documents = [one.strip("\n") for text in texts.values() for one in re.split(r"^---$", text, flags=re.MULTILINE)]
    documents = sorted(filter(str.strip, documents), key=lambda document: KINDS.index(kind_of(document)))
    lines = "\n---\n".join(documents).split("\n")
    kept = [marked(line.rstrip()) for line in lines if not OF_HELM.match(line)]
    return f"# {head}\n" + "\n".join(kept) + "\n"


def made():
    """Every file that is made, with its text."""
    files = {ROOT / "deploy" / name: manifest(values, head) for name, (values, head) in HEADS.items()}
    if RULES.exists():
        files[COPY_OF_RULES] = RULES.read_text()
    return files


def write():
    """Writes them anew."""
    for path, text in made().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        print(path.relative_to(ROOT))


def check():
    """Compares them with what is there."""
    for path, text in made().items():
        if not path.exists() or path.read_text() != text:
            raise Fault(f"{path.relative_to(ROOT)} differs from its source: run tools/check-deploy --write")
        yield f"{path.relative_to(ROOT)} is what its source gives"
