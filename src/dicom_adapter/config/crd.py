"""The custom resource definitions of ClaraAeTitle, Source and Destination, made of the models of `resources`.

`python -m dicom_adapter.config.crd FOLDER` writes deploy/crds; a test compares them. `apiextensions.k8s.io/v1` with
structural schemas, so that the API server refuses what it can see is wrong; nothing that came after Kubernetes 1.20.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from dicom_adapter.config.resources import GROUP, VERSION, ClaraAeTitleSpec, DestinationSpec, Kind, SourceSpec

# As Kubernetes' own conditions are (metav1.Condition).
_CONDITION = {
    "type": "object",
    "required": ["type", "status", "reason", "message", "lastTransitionTime"],
    "properties": {
        "type": {"type": "string", "maxLength": 316},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
        "message": {"type": "string", "maxLength": 32768},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
    },
}
_STATUS = {
    "type": "object",
    "description": "Written by the adapter: whether the resource is in force, and why it is not.",
    "properties": {
        "Enabled": {"type": "boolean"},
        "conditions": {
            "type": "array",
            "items": _CONDITION,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    },
}
_ACCEPTED = '.status.conditions[?(@.type=="Accepted")]'
_COMMON_COLUMNS = (
    {"name": "Accepted", "type": "string", "jsonPath": f"{_ACCEPTED}.status"},
    {"name": "Message", "type": "string", "jsonPath": f"{_ACCEPTED}.message", "priority": 1},  # with -o wide
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)
# JSON Schema keywords that a structural schema of Kubernetes has as well.
_KEPT = frozenset(
    {"description", "maxItems", "maxLength", "maxProperties", "maximum", "minLength", "minimum", "pattern", "type"}
)


@dataclass(frozen=True, slots=True)
class _Definition:
    """What a kind has beside its spec. `columns`: name of a printer column -> (type, field of spec)."""

    spec: type[ClaraAeTitleSpec] | type[SourceSpec] | type[DestinationSpec]
    short_names: tuple[str, ...]
    columns: Mapping[str, tuple[str, str]]
    optional: frozenset[str] = frozenset()  # fields that the adapter fills in where they are left out


# Names: those of the original's definitions (contract 3.2).
_DEFINITIONS: Mapping[Kind, _Definition] = {
    Kind.CLARA_AE_TITLE: _Definition(
        ClaraAeTitleSpec,
        ("aet", "claraaet"),
        {
            "AE Title": ("string", "aeTitle"),
            "Pipeline": ("string", "pipelineId"),
            "Timeout": ("integer", "timeout"),
            "Overwrite": ("boolean", "overwriteSameInstance"),
        },
        optional=frozenset({"name"}),
    ),
    Kind.SOURCE: _Definition(SourceSpec, ("src",), {"AE Title": ("string", "aeTitle"), "Host": ("string", "hostIp")}),
    Kind.DESTINATION: _Definition(
        DestinationSpec,
        ("dest", "dst"),
        {"AE Title": ("string", "aeTitle"), "Host": ("string", "hostIp"), "Port": ("integer", "port")},
    ),
}


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind, as values for JSON or YAML."""
    found = _DEFINITIONS[kind]
    names = {
        "kind": kind.value,
        "listKind": f"{kind}List",
        "plural": kind.plural,
        "singular": kind.lower(),
        "shortNames": list(found.short_names),
    }
    columns = [
        {"name": name, "type": type_, "jsonPath": f".spec.{field}"} for name, (type_, field) in found.columns.items()
    ]
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "required": ["spec"],
                "properties": {
                    "spec": _structural(found.spec.model_json_schema(), found.optional),
                    "status": _STATUS,
                },
            }
        },
        "subresources": {"status": {}},
        "additionalPrinterColumns": [*columns, *_COMMON_COLUMNS],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def text(kind: Kind) -> str:
    """The same as a YAML file."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.ignore_aliases = lambda _data: True
    out = io.StringIO("# Made by `python -m dicom_adapter.config.crd deploy/crds`: change config/resources.py.\n")
    out.seek(0, io.SEEK_END)
    yaml.dump(definition(kind), out)
    return out.getvalue()


def _structural(schema: Mapping[str, Any], optional: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A JSON schema of pydantic's as Kubernetes wants it: every node with its one type, nothing by reference."""
    if "anyOf" in schema:  # what may be left out
        (option,) = (option for option in schema["anyOf"] if option["type"] != "null")
        return _structural(option)
    result: dict[str, Any] = {key: value for key, value in schema.items() if key in _KEPT}
    if schema["type"] == "object" and "properties" in schema:
        result["properties"] = {name: _structural(field) for name, field in schema["properties"].items()}
        if required := [name for name in schema.get("required", ()) if name not in optional]:
            result["required"] = required
    elif schema["type"] == "object":
        (values,) = schema["patternProperties"].values()
        kept = {key: value for key, value in values.items() if key in _KEPT - {"type"}}
        result["additionalProperties"] = {"x-kubernetes-int-or-string": True, **kept}  # a number is taken as its text
    elif schema["type"] == "array":
        result["items"] = _structural(schema["items"])
    return result


def main(folder: Path) -> None:
    """Write each definition into a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in Kind:
        (folder / f"{kind.plural}.yaml").write_text(text(kind), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
