"""What Helm renders, before the API server that KUBECONFIG names (docs/kubernetes.md). Without one they are skipped."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dicom_adapter.config.resources import API_VERSION, Kind
from tests import real_kubernetes
from tests.chart import VARIANTS, render
from tests.real_kubernetes import Cluster

pytestmark = pytest.mark.skipif("KUBECONFIG" not in os.environ, reason="there is no API server: docs/kubernetes.md")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    kubeconfig = Path(os.environ["KUBECONFIG"])
    made = Cluster(kubeconfig, asyncio.run(real_kubernetes.prepare(kubeconfig)))
    yield made
    made.close()


@pytest.fixture(scope="module")
def account(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster as the adapter's own service account."""
    made = Cluster(cluster.account_of_the_chart(tmp_path_factory.mktemp("account")), cluster.namespace)
    yield made
    made.close()


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_api_server_takes_all_of_it(cluster: Cluster, changes: Mapping[str, Any]) -> None:
    for documents in render(changes, cluster.namespace).values():
        for document in documents:
            if cluster.serves(document["apiVersion"]):
                answer = cluster.apply(document, dry_run=True)
                assert (answer.status_code, answer.headers.get("Warning")) in ((200, None), (201, None)), answer.text


def test_its_role_is_all_that_the_service_account_has(account: Cluster) -> None:
    (role,) = render()["Role"]
    asked = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview"}
    body = {**asked, "spec": {"namespace": account.namespace}}
    rules = account.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", body).json()["status"]
    granted = [
        {key: rule[key] for key in ("apiGroups", "resources", "verbs")}
        for rule in rules["resourceRules"]
        if not {"authorization.k8s.io", "authentication.k8s.io"} & {*rule["apiGroups"]}  # what everybody may ask
    ]
    assert sorted(granted, key=str) == sorted(role["rules"], key=str)
    elsewhere = account.call("GET", account.path(API_VERSION, Kind.SOURCE.plural, namespace="default"))
    secrets = account.call("GET", account.path("v1", "secrets"))
    assert (elsewhere.status_code, secrets.status_code) == (403, 403)
