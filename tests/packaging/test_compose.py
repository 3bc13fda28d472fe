"""deploy/compose: it is a compose file, and what it mounts fits together."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from dicom_adapter.config import load

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "compose"


def compose() -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(FOLDER / "compose.yaml")
    return found


def test_it_is_a_compose_file() -> None:
    """By the compose specification; a key that it does not have would be lost on the way through."""
    specification = pytest.importorskip("compose_spec", reason="compose-spec is not installed: make deploy-tools")
    parsed = specification.PyCompose.from_yaml((FOLDER / "compose.yaml").read_text())
    assert set(parsed.service_names()) == {"adapter", "orthanc"}
    known = parsed.to_dict()["services"]
    for name, service in compose()["services"].items():
        assert service.keys() <= known[name].keys()


def test_the_adapter_is_confined() -> None:
    adapter = compose()["services"]["adapter"]
    assert adapter["read_only"] is True
    assert adapter["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in adapter["security_opt"]
    assert int(adapter["sysctls"]["net.ipv4.ip_unprivileged_port_start"]) <= 104


def test_what_is_mounted_is_there() -> None:
    for service in compose()["services"].values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source in compose()["volumes"] or (FOLDER / source).exists(), volume


def test_only_dicom_is_reached_from_elsewhere() -> None:
    published = [port for service in compose()["services"].values() for port in service["ports"]]
    assert [port for port in published if not port.startswith("127.0.0.1:")] == ["11112:104"]


def test_the_adapter_knows_orthanc_and_its_ports() -> None:
    settings = load(FOLDER / "app.yaml", {}).require_runnable()
    orthanc = json.loads((FOLDER / "orthanc.json").read_text())
    (destination,) = settings.dicom.scu.destinations
    assert (destination.host_ip, destination.port) == ("orthanc", orthanc["DicomPort"])
    assert destination.ae_title == orthanc["DicomAet"]
    assert "orthanc" in compose()["services"]
    ports = [port.rpartition(":")[2] for port in compose()["services"]["adapter"]["ports"]]
    assert ports == [str(settings.dicom.scp.port), str(settings.api.port)]
    assert settings.storage.temporary == FOLDER / "storage"  # beside the file: /app/storage, the volume


def test_its_pipeline_is_that_of_the_documentation() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "pipelines.md").read_text(), re.DOTALL)
    assert (FOLDER / "pipelines" / "invert.py").read_text() == program
