"""deploy/helm/dicom-adapter as Helm renders it, with the values of several sites."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy" / "helm" / "dicom-adapter"
SAMPLE = (ROOT / "tests" / "fixtures" / "two_pipelines.yaml").read_text()
TOKEN: Mapping[str, Any] = {"api": {"token": {"existingSecret": "rest-token"}}}

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "an existing secret": TOKEN,
    "a token in the values": {"api": {"token": {"value": "s3cret"}}},
    "anonymous": {"api": {"anonymous": True}},
    "as the original chart had it": {
        **TOKEN,
        "config": SAMPLE,
        "dicom": {"hostPort": 104, "service": {"type": "NodePort", "nodePort": 30104}},
        "storage": {"mountPath": "/payloads", "storageClass": "local", "annotations": {"a": "b"}},
    },
    "everything given": {
        **TOKEN,
        "existingConfigMap": "site",
        "dicom": {"port": 11112, "service": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}},
        "storage": {"existingClaim": "studies"},
        "serviceAccount": {"create": False, "name": "imaging"},
        "rbac": {"create": False},
        "podDisruptionBudget": {"enabled": False},
        "networkPolicy": {"dicomFrom": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "apiFrom": [{"podSelector": {}}]},
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "imaging", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "podLabels": {"team": "radiology"},
        "podAnnotations": {"note": "x"},
        "env": [{"name": "CLARA_SERVICE_HOST", "value": "clara"}],
    },
}


def render(changes: Mapping[str, Any] = TOKEN, namespace: str = "imaging") -> dict[str, list[dict[str, Any]]]:
    """The manifests as the API server would get them, by kind."""
    helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed: make deploy-tools")
    with helm.Chart.load(str(CHART)) as chart:
        rendered = chart.render(dict(changes), name="demo", namespace=namespace)
    yaml = YAML(typ="safe")
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for name, text in rendered.items():
        for document in yaml.load_all(text) if name.endswith(".yaml") else ():
            if document:
                by_kind.setdefault(document["kind"], []).append(document)
    return by_kind
