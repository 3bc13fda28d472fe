"""deploy/helm/dicom-adapter: rendered by Helm itself, and held against the fields that Kubernetes knows.

Without Helm (`make deploy-tools`) its values are checked alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from lightkube.codecs import load_all_yaml
from lightkube.core.exceptions import LoadResourceError
from ruamel.yaml import YAML

from dicom_adapter import __version__
from dicom_adapter.config import ConfigError, Settings, load_text
from dicom_adapter.config.crd import definition
from dicom_adapter.config.resources import GROUP, Kind
from tests.chart import CHART, ROOT, SAMPLE, TOKEN, VARIANTS, render

yaml = YAML(typ="safe")


def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(CHART / "values.yaml")
    return found


def only(kind: str, changes: Mapping[str, Any] = TOKEN) -> dict[str, Any]:
    (found,) = render(changes)[kind]
    return found


def pod(changes: Mapping[str, Any] = TOKEN) -> dict[str, Any]:
    spec: dict[str, Any] = only("Deployment", changes)["spec"]["template"]["spec"]
    return spec


def container(changes: Mapping[str, Any] = TOKEN) -> dict[str, Any]:
    (found,) = pod(changes)["containers"]
    assert isinstance(found, dict)
    return found


# --- values ---------------------------------------------------------------------------------------------------------


def test_the_default_values_are_what_the_schema_allows() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    validator = jsonschema_rs.validator_for(schema)
    assert validator.is_valid(values())
    assert values().keys() == schema["properties"].keys() - {"global"}
    for wrong in ({"dicom": {"port": 0}}, {"replicas": 2}, {"storage": {"accessMode": "ReadWriteMany"}}):
        assert not validator.is_valid({**values(), **wrong}), wrong


def test_its_version_is_the_adapters() -> None:
    chart = yaml.load(CHART / "Chart.yaml")
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_its_custom_resources_are_the_one_set_that_there_is() -> None:
    assert {path.name for path in (CHART / "crds").iterdir()} == {f"{kind.plural}.yaml" for kind in Kind}
    assert os.path.samefile(CHART / "crds", ROOT / "deploy" / "crds")
    for kind in Kind:
        assert yaml.load(CHART / "crds" / f"{kind.plural}.yaml") == definition(kind)


# --- rendered -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_helm_finds_nothing_wrong_with_it(changes: Mapping[str, Any]) -> None:
    helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed: make deploy-tools")
    report = helm.lint(str(CHART), dict(changes), strict=True)
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_kubernetes_has_every_field(changes: Mapping[str, Any]) -> None:
    """The models are made of Kubernetes' own OpenAPI document: a field that they lack does not come back."""
    for documents in render(changes).values():
        for document in documents:
            assert without_empty(read_back(document)) == without_empty(document)


def test_a_field_that_kubernetes_lacks_would_be_noticed() -> None:
    document = only("PersistentVolumeClaim")
    assert "sizes" not in read_back({**document, "spec": {**document["spec"], "sizes": "50Gi"}})["spec"]
    with pytest.raises(LoadResourceError):
        load_all_yaml(json.dumps({**document, "kind": "PersistentVolumeClame"}))


def read_back(document: Mapping[str, Any]) -> dict[str, Any]:
    (model,) = load_all_yaml(json.dumps(document))
    found: dict[str, Any] = model.to_dict()  # type: ignore[no-untyped-call]
    return found


def without_empty(value: Any) -> Any:
    """Empty mappings and lists mean the same as none, except where their presence is the meaning."""
    if isinstance(value, Mapping):
        found = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item not in ({}, [], None)}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


def test_an_api_without_a_token_has_to_be_meant() -> None:
    helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed: make deploy-tools")
    with pytest.raises(helm.HelmRenderError, match=r"set api\.token\.existingSecret or api\.token\.value"):
        render({})


@pytest.mark.parametrize("text", [SAMPLE, values()["config"], "dicom: {scp: {port: 104}}", "# nothing\n"])
def test_the_specified_file_is_taken_as_it_is(text: str) -> None:
    assert only("ConfigMap", {**TOKEN, "config": text})["data"] == {"app.yaml": text}
    config = next(volume for volume in pod()["volumes"] if volume["name"] == "config")
    assert config["configMap"]["name"] == only("ConfigMap")["metadata"]["name"]


def in_force(changes: Mapping[str, Any]) -> Settings:
    """The settings of the container: the file in the ConfigMap, and the variables of its environment."""
    environ = {each["name"]: each.get("value", "") for each in container(changes)["env"]}
    return load_text(only("ConfigMap", changes)["data"]["app.yaml"], environ, base=Path("/app")).settings


@pytest.mark.parametrize("name", ["an existing secret", "anonymous", "as the original chart had it"])
def test_file_and_chart_say_the_same_to_the_adapter(name: str) -> None:
    """A start with what the pod has listens where the pod expects it."""
    changes = VARIANTS[name]
    settings = in_force(changes)
    assert settings.api.anonymous is (settings.api.token_file is None)
    ports = {port["name"]: port["containerPort"] for port in container(changes)["ports"]}
    assert ports == {"dicom": settings.dicom.scp.port, "api": settings.api.port}
    assert settings.api.host == "0.0.0.0"


def test_the_default_storage_is_the_volume() -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    assert mounts["storage"] == str(in_force(VARIANTS["anonymous"]).storage.temporary)


def test_a_file_of_the_chart_is_checked_like_any_other() -> None:
    with pytest.raises(ConfigError):
        in_force({**VARIANTS["anonymous"], "config": "dicom: {scp: {prot: 104}}"})


def test_it_runs_without_rights_that_it_does_not_need() -> None:
    security = container()["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    of_pod = pod()["securityContext"]
    assert of_pod["runAsNonRoot"] is True
    assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    user = f"{of_pod['runAsUser']}:{of_pod['runAsGroup']}"
    assert f"USER {user}\n" in (ROOT / "deploy" / "Dockerfile").read_text()


def test_a_port_below_1024_is_allowed_by_a_safe_sysctl() -> None:
    assert pod()["securityContext"]["sysctls"] == [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "104"}]
    assert "sysctls" not in pod(VARIANTS["everything given"])["securityContext"]


def test_rights_are_those_on_the_custom_resources_of_its_namespace() -> None:
    rendered = render()
    assert not {"ClusterRole", "ClusterRoleBinding"} & rendered.keys()
    resources, status = only("Role")["rules"]
    plurals = [kind.plural for kind in Kind]
    assert resources == {
        "apiGroups": [GROUP],
        "resources": plurals,
        "verbs": ["get", "list", "watch", "create", "update", "delete"],
    }
    assert status == {
        "apiGroups": [GROUP],
        "resources": [f"{plural}/status" for plural in plurals],
        "verbs": ["patch"],
    }
    (subject,) = only("RoleBinding")["subjects"]
    assert subject["name"] == pod()["serviceAccountName"] == only("ServiceAccount")["metadata"]["name"]
    assert subject["namespace"] == "imaging"


def test_the_probes_ask_the_adapter_itself() -> None:
    probes = {name: container()[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/health/live",
        "liveness": "/health/live",
        "readiness": "/health/ready",
    }
    assert {probe["port"] for probe in probes.values()} == {"api"}


def test_one_adapter_owns_the_storage_and_ends_in_peace() -> None:
    deployment = only("Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert pod()["terminationGracePeriodSeconds"] > Settings().dicom.scp.shutdown_grace
    assert only("PersistentVolumeClaim")["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert only("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def selectors(rendered: Mapping[str, list[dict[str, Any]]]) -> Iterator[Mapping[str, str]]:
    for service in rendered["Service"]:
        yield service["spec"]["selector"]
    yield only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    yield only("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    yield only("Deployment")["spec"]["selector"]["matchLabels"]


def test_everything_selects_the_pod() -> None:
    labels = only("Deployment")["spec"]["template"]["metadata"]["labels"]
    for selector in selectors(render()):
        assert selector.items() <= labels.items()


def test_services_lead_to_the_ports_of_the_pod() -> None:
    names = {port["name"] for port in container()["ports"]}
    services = {service["metadata"]["name"]: service["spec"] for service in render()["Service"]}
    assert {name: spec["ports"][0]["port"] for name, spec in services.items()} == {
        "demo-dicom-adapter": 104,
        "demo-dicom-adapter-api": 5000,
    }
    assert {spec["ports"][0]["targetPort"] for spec in services.values()} == names


def test_the_api_is_reached_by_the_name_of_its_service() -> None:
    """The API refuses a Host that it does not know (DNS rebinding); these are what pods write."""
    service = "demo-dicom-adapter-api"
    named = {**TOKEN, "api": {**TOKEN["api"], "hostNames": ["adapter.example.org"]}}
    assert {service, f"{service}.imaging", f"{service}.imaging.svc", "adapter.example.org"} <= set(
        in_force(named).api.host_names
    )


def test_who_may_reach_what() -> None:
    dicom, api = only("NetworkPolicy")["spec"]["ingress"]
    assert "from" not in dicom  # scanners are outside the cluster
    assert api["from"] == [{"podSelector": {}}]
    given = only("NetworkPolicy", VARIANTS["everything given"])["spec"]["ingress"]
    assert given[0]["from"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]


def test_scanners_may_call_the_node_as_with_the_original_chart() -> None:
    ports = container(VARIANTS["as the original chart had it"])["ports"]
    assert {"name": "dicom", "containerPort": 104, "hostPort": 104} in ports


def test_a_token_is_a_file_that_only_the_pod_reads() -> None:
    made = VARIANTS["a token in the values"]
    (secret,) = render(made)["Secret"]
    assert secret["stringData"] == {"token": "s3cret"}
    assert "Secret" not in render()
    for changes, name in ((TOKEN, "rest-token"), (made, secret["metadata"]["name"])):
        volume = next(volume for volume in pod(changes)["volumes"] if volume["name"] == "token")
        assert volume["secret"]["secretName"] == name
        path = in_force(changes).api.token_file
        mount = next(mount for mount in container(changes)["volumeMounts"] if mount["name"] == "token")
        assert str(path) == f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}"
    assert not any(volume["name"] == "token" for volume in pod(VARIANTS["anonymous"])["volumes"])
