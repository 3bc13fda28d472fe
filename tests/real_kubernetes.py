"""The API server that KUBECONFIG names, made ready for tests: the definitions of deploy/crds, an empty namespace.

Namespaces are left behind: who starts an API server for tests throws it away.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from httpx2 import Client, Response
from lightkube import AsyncClient, KubeConfig
from lightkube.codecs import load_all_yaml
from lightkube.config import client_adapter
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.core_v1 import Namespace
from ruamel.yaml import YAML

from dicom_adapter.config.resources import API_VERSION, Kind
from tests.chart import render

CRDS = Path(__file__).parents[1] / "deploy" / "crds"
MANAGER = "dicom-adapter-tests"


async def prepare(kubeconfig: Path) -> str:
    """The namespace."""
    client = AsyncClient(KubeConfig.from_file(kubeconfig), field_manager=MANAGER)
    try:
        for path in sorted(CRDS.iterdir()):
            for definition in load_all_yaml(path.read_text()):
                assert isinstance(definition, CustomResourceDefinition)
                assert definition.metadata is not None
                assert definition.metadata.name is not None
                await client.apply(definition, force=True)
                await client.wait(
                    CustomResourceDefinition,
                    definition.metadata.name,
                    for_conditions=["Established"],
                    raise_for_conditions=["NonStructuralSchema"],
                )
        name = f"test-{uuid.uuid4()}"
        await client.create(Namespace(metadata=ObjectMeta(name=name)))
        return name
    finally:
        await client.close()


class Cluster:
    """An API server, with what kubectl does there as the user of a kubeconfig, in one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.kubeconfig, self.namespace = kubeconfig, namespace
        config = KubeConfig.from_file(kubeconfig).get()
        assert config is not None
        self._http: Client = client_adapter.Client(config, client_adapter.ConnectionParams())

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Response:
        content = b"" if body is None else json.dumps(body).encode()
        return self._http.request(method, path, content=content, headers={"Content-Type": content_type})

    def path(self, api_version: str, plural: str, name: str = "", *, namespace: str = "") -> str:
        group = "apis" if "/" in api_version else "api"
        return f"/{group}/{api_version}/namespaces/{namespace or self.namespace}/{plural}{name and '/'}{name}"

    def serves(self, api_version: str) -> bool:
        """Whether this server is new enough: the chart's oldest is 1.25, Debian's 1.20 has no policy/v1."""
        return self.call("GET", f"/{'apis' if '/' in api_version else 'api'}/{api_version}").is_success

    def apply(self, document: Mapping[str, Any], *, dry_run: bool = False) -> Response:
        """`kubectl apply --server-side`; a server since 1.25 also refuses fields that it does not know."""
        plural = _PLURALS.get(document["kind"], f"{document['kind'].lower()}s")
        path = self.path(document["apiVersion"], plural, document["metadata"]["name"])
        query = f"?fieldManager={MANAGER}&force=true&fieldValidation=Strict{'&dryRun=All' if dry_run else ''}"
        return self.call("PATCH", path + query, document, "application/apply-patch+yaml")

    def resource(self, kind: Kind, name: str) -> dict[str, Any]:
        answer = self.call("GET", self.path(API_VERSION, kind.plural, name))
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def create(self, kind: Kind, name: str, spec: Mapping[str, object]) -> None:
        body = {"apiVersion": API_VERSION, "kind": kind.value, "metadata": {"name": name}, "spec": spec}
        answer = self.call("POST", self.path(API_VERSION, kind.plural), body)
        assert answer.is_success, answer.text

    def edit(self, kind: Kind, name: str, **changes: object) -> None:
        path = self.path(API_VERSION, kind.plural, name)
        answer = self.call("PATCH", path, {"spec": changes}, "application/merge-patch+json")
        assert answer.is_success, answer.text

    def account_of_the_chart(self, folder: Path) -> Path:
        """A kubeconfig of the service account that the chart makes, with no rights but those of its Role."""
        rendered = render(namespace=self.namespace)
        for kind in ("ServiceAccount", "Role", "RoleBinding"):
            (document,) = rendered[kind]
            answer = self.apply(document)
            assert answer.is_success, answer.text
        (account,) = (one["metadata"]["name"] for one in rendered["ServiceAccount"])
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        answer = self.call("POST", self.path("v1", "serviceaccounts", f"{account}/token"), asked)
        assert answer.is_success, answer.text
        token = folder / "token"
        token.write_text(answer.json()["status"]["token"])
        config = YAML(typ="safe").load(self.kubeconfig)
        for user in config["users"]:
            user["user"] = {"tokenFile": str(token)}
        path = folder / "kubeconfig-of-the-chart"
        path.write_text(json.dumps(config))
        return path


_PLURALS = {"NetworkPolicy": "networkpolicies"}
