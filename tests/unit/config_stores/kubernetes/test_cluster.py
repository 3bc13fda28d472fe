"""Which cluster is used, and when none is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dicom_adapter.config.schema import Kubernetes
from dicom_adapter.config_stores.kubernetes.cluster import find
from dicom_adapter.core.errors import PermanentError

IN_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def settings(**keys: object) -> Kubernetes:
    return Kubernetes.model_validate(keys)


def found(
    folder: Path, keys: Mapping[str, object], environ: Mapping[str, str], *, mounted: bool = False
) -> tuple[str, str | None] | None:
    """What is found, with the folder's own name cut; `mounted`: whether there is a service account."""
    account = folder / "account"
    if mounted:
        account.mkdir()
        (account / "token").write_text("t")
    (folder / "there").write_text("{}")
    access = find(
        Kubernetes.model_validate(keys),
        {name: value.replace("~", str(folder)) for name, value in environ.items()},
        service_account=account,
    )
    return None if access is None else (str(access).replace(f"{folder}/", ""), access.namespace)


POD, THERE = "the service account of this pod", "the kubeconfig there"


@pytest.mark.parametrize(
    ("keys", "environ", "mounted", "expected"),
    [
        ({}, {}, False, None),
        ({}, {}, True, None),  # a folder alone is no pod
        ({}, IN_POD, False, None),  # a pod without a service account
        ({}, IN_POD, True, (POD, None)),
        ({"namespace": "imaging"}, IN_POD, True, (POD, "imaging")),
        ({}, {"KUBECONFIG": "~/there"}, False, (THERE, None)),
        ({}, {"KUBECONFIG": "~/missing:~/there"}, False, (THERE, None)),
        ({}, {"KUBECONFIG": "~/missing"}, False, ("the kubeconfig missing", None)),  # and using it will say so
        ({}, {"KUBECONFIG": ""}, False, None),
        ({}, {**IN_POD, "KUBECONFIG": "~/there"}, True, (POD, None)),
        ({"enabled": True}, {"KUBECONFIG": "~/there"}, False, (THERE, None)),
        ({"enabled": False}, {**IN_POD, "KUBECONFIG": "~/there"}, True, None),
    ],
)
def test_find(
    tmp_path: Path,
    keys: Mapping[str, object],
    environ: Mapping[str, str],
    mounted: bool,
    expected: tuple[str, str | None] | None,
) -> None:
    assert found(tmp_path, keys, environ, mounted=mounted) == expected


def test_the_file_that_the_settings_name_comes_first(tmp_path: Path) -> None:
    keys = {"kubeconfig": str(tmp_path / "mine")}
    assert found(tmp_path, keys, IN_POD, mounted=True) == ("the kubeconfig mine", None)


def test_the_file_of_the_home_is_taken_where_a_cluster_is_demanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text("{}")
    assert found(tmp_path, {}, {}) is None
    assert found(tmp_path, {"enabled": True}, {}) == ("the kubeconfig .kube/config", None)


def test_a_cluster_that_is_demanded_and_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(PermanentError, match="there is no cluster"):
        found(tmp_path, {"enabled": True}, {})


@pytest.mark.parametrize(
    ("written", "choice"), [(True, "true"), (False, "false"), ("auto", "auto"), ("true", "true"), ("false", "false")]
)
def test_enabled_is_a_flag_or_auto(written: object, choice: str) -> None:
    assert settings(enabled=written).enabled == choice
