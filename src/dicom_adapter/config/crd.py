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

_STATUS = {
    "type": "object",
    "description": "Written by the adapter.",
    "properties": {"Enabled": {"type": "boolean"}},
    "x-kubernetes-preserve-unknown-fields": True,
}
_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
# JSON Schema keywords that a structural schema of Kubernetes has as well.
_KEPT = frozenset({"description", "maxLength", "maximum", "minLength", "minimum", "pattern", "type"})


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
        "additionalPrinterColumns": [*columns, _AGE],
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
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if options:  # what may be left out; a mapping's values that may be text or number are told apart by no type
        if len(options) > 1:
            return {"x-kubernetes-int-or-string": True}
        return _structural({**schema, "anyOf": (), **options[0]})
    result: dict[str, Any] = {key: value for key, value in schema.items() if key in _KEPT}
    if schema["type"] == "object" and "properties" in schema:
        result["properties"] = {name: _structural(field) for name, field in schema["properties"].items()}
        if required := [name for name in schema.get("required", ()) if name not in optional]:
            result["required"] = required
    elif schema["type"] == "object":
        result["additionalProperties"] = {"x-kubernetes-int-or-string": True}  # numbers are taken as their text
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
