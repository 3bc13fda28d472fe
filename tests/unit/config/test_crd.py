"""The definitions in deploy/crds: what the models say, in the form that Kubernetes demands, and of use to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from ruamel.yaml import YAML

from dicom_adapter.config import acceptance, crd
from dicom_adapter.config.resources import Kind, Metadata, as_json, parse_spec

FOLDER = Path(__file__).parents[3] / "deploy" / "crds"
BRAIN = {"name": "brain", "aeTitle": "BrainTumor", "pipelineId": "7b9cda79ed834fdc87cd4169216c4011", "timeout": 0}

SPECS: Mapping[Kind, Mapping[str, object]] = {
    Kind.CLARA_AE_TITLE: BRAIN,
    Kind.SOURCE: {"aeTitle": "Orthanc", "hostIp": "1.2.3.4"},
    Kind.DESTINATION: {"name": "pacs", "aeTitle": "ARCHIVEX", "hostIp": "10.20.30.40", "port": 104},
}


def schema_of(kind: Kind) -> dict[str, Any]:
    (version,) = crd.definition(kind)["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    for child in schema.get("properties", {}).values():
        yield from nodes(child)
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from nodes(schema[keyword])


@pytest.mark.parametrize("kind", Kind)
def test_the_files_are_what_the_models_say(kind: Kind) -> None:
    path = FOLDER / f"{kind.plural}.yaml"
    assert path.read_text() == crd.text(kind), "run: python -m dicom_adapter.config.crd deploy/crds"
    assert YAML(typ="safe").load(path) == crd.definition(kind)


def test_there_is_a_file_for_each_kind_and_no_other() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {kind.plural for kind in Kind}


@pytest.mark.parametrize(
    ("kind", "plural", "short_names"),
    [
        (Kind.CLARA_AE_TITLE, "claraaetitles", ["aet", "claraaet"]),
        (Kind.SOURCE, "sources", ["src"]),
        (Kind.DESTINATION, "destinations", ["dest", "dst"]),
    ],
)
def test_names_are_those_of_the_original(kind: Kind, plural: str, short_names: list[str]) -> None:
    definition = crd.definition(kind)
    assert definition["apiVersion"] == "apiextensions.k8s.io/v1"
    assert definition["metadata"]["name"] == f"{plural}.dicom.clara.nvidia.com"
    names = definition["spec"]["names"]
    assert (names["plural"], names["listKind"], names["shortNames"]) == (plural, f"{kind}List", short_names)
    assert [version["name"] for version in definition["spec"]["versions"]] == ["v1beta2"]


@pytest.mark.parametrize("kind", Kind)
def test_schemas_are_structural(kind: Kind) -> None:
    """Each node has one type or takes numbers and text, and nothing is by reference."""
    for node in nodes(schema_of(kind)):
        assert ("type" in node) != ("x-kubernetes-int-or-string" in node), node
        assert not {"$ref", "anyOf", "allOf", "oneOf", "not", "title", "default"} & node.keys(), node


@pytest.mark.parametrize("kind", Kind)
def test_columns_show_fields_that_there_are(kind: Kind) -> None:
    (version,) = crd.definition(kind)["spec"]["versions"]
    schema = schema_of(kind)["properties"]
    condition = schema["status"]["properties"]["conditions"]["items"]
    for column in version["additionalPrinterColumns"]:
        place, _, name = column["jsonPath"].rpartition(".")
        fields = {
            ".spec": schema["spec"],
            '.status.conditions[?(@.type=="Accepted")]': condition,
            ".metadata": {"properties": {"creationTimestamp": {"type": "date"}}},
        }[place]["properties"]
        assert fields[name]["type"] == column["type"]


@pytest.mark.parametrize("kind", Kind)
def test_status_is_shown_and_may_be_written(kind: Kind) -> None:
    (version,) = crd.definition(kind)["spec"]["versions"]
    assert version["subresources"] == {"status": {}}
    assert "Accepted" in [column["name"] for column in version["additionalPrinterColumns"]]
    made = acceptance.accepted(kind, parse_spec(kind, SPECS[kind]), Metadata(name="a"), "2026-01-02T03:04:05Z")
    validator = jsonschema_rs.Draft7Validator(schema_of(kind), validate_formats=True)
    validator.validate(as_json(made))
    for wrong in ({"Enabled": "yes"}, {"conditions": [{"type": "Accepted"}]}):
        assert not validator.is_valid({"spec": SPECS[kind], "status": wrong})


@pytest.mark.parametrize(
    ("kind", "spec", "accepted"),
    [
        (Kind.CLARA_AE_TITLE, BRAIN, True),
        (Kind.CLARA_AE_TITLE, {"aeTitle": "BRAIN", "processorSettings": {"pipeline-a": "id", "n": 5}}, True),
        (
            Kind.CLARA_AE_TITLE,
            {"aeTitle": "BRAIN", "processor": "a.B, c", "processorSettings": {"n": "x" * 1024}},
            True,
        ),
        (Kind.CLARA_AE_TITLE, {"aeTitle": "BRAIN", "processorSettings": {"n": "x" * 1025}}, False),
        (Kind.CLARA_AE_TITLE, {"aeTitle": "BRAIN", "processorSettings": {"n": "a\nb"}}, False),
        (Kind.CLARA_AE_TITLE, {"aeTitle": "BRAIN", "processorSettings": {str(n): "" for n in range(257)}}, False),
        (Kind.CLARA_AE_TITLE, {**BRAIN, "processors": ["x"] * 33}, False),
        (Kind.CLARA_AE_TITLE, {**BRAIN, "aeTitle": "SIXTEEN CHARS 16"}, True),
        (Kind.CLARA_AE_TITLE, {**BRAIN, "aeTitle": "SEVENTEEN CHARS17"}, False),
        (Kind.CLARA_AE_TITLE, {**BRAIN, "aeTitle": "A\\B"}, False),
        (Kind.CLARA_AE_TITLE, {**BRAIN, "aeTitle": "A\n"}, False),
        (Kind.CLARA_AE_TITLE, {**BRAIN, "aeTitle": "   "}, False),
        (Kind.CLARA_AE_TITLE, {**BRAIN, "timeout": -1}, False),
        (Kind.CLARA_AE_TITLE, {**BRAIN, "timeout": "5"}, False),
        (Kind.CLARA_AE_TITLE, {**BRAIN, "ignoredSopClasses": ["CT"]}, False),
        (Kind.SOURCE, {"aeTitle": "Orthanc", "hostIp": "1.2.3.4"}, True),
        (Kind.SOURCE, {"aeTitle": "Orthanc", "hostIp": "2001:db8::1"}, True),
        (Kind.SOURCE, {"aeTitle": "Orthanc"}, False),
        (Kind.SOURCE, {"aeTitle": "Orthanc", "hostIp": "a b"}, False),
        (Kind.DESTINATION, {"name": "pacs", "aeTitle": "ARCHIVEX", "hostIp": "10.20.30.40", "port": 104}, True),
        (Kind.DESTINATION, {"name": "pacs", "aeTitle": "ARCHIVEX", "hostIp": "10.20.30.40", "port": 65536}, False),
        (Kind.DESTINATION, {"name": "pacs", "aeTitle": "ARCHIVEX", "hostIp": "10.20.30.40", "port": 0}, False),
        (Kind.DESTINATION, {"name": "", "aeTitle": "ARCHIVEX", "hostIp": "10.20.30.40", "port": 104}, False),
    ],
)
def test_what_an_api_server_lets_in(kind: Kind, spec: Mapping[str, object], accepted: bool) -> None:
    validator = jsonschema_rs.Draft7Validator(schema_of(kind))
    assert validator.is_valid({"spec": spec, "status": {"Enabled": True}}) is accepted
