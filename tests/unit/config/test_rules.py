"""The rules between keys, as a table: a file, and the severity and path of each finding."""

from __future__ import annotations

import pytest

from dicom_adapter.config.document import dotted, parse
from dicom_adapter.config.rules import Severity, check
from dicom_adapter.config.schema import Settings

ERROR, WARNING = Severity.ERROR, Severity.WARNING
SOURCE = "sources: [{host-ip: 1.2.3.4, ae-title: S}]"
DESTINATIONS = "scu: {destinations: [{name: PACS, host-ip: 1.2.3.4, port: 104, ae-title: P}]}"
SETTINGS = "ae-titles: [{{ae-title: A, processor-settings: {{{}}}}}]"
MAPPED = "pipeline-mappings: [{name: p, clara-ae-title: A}]"

RULES = [
    ("", []),  # all from the store: nothing can be said
    (f"dicom: {{scp: {{ae-titles: [{{ae-title: A}}], {SOURCE}}}}}\n{MAPPED}", []),
    (f"dicom: {{scp: {{ae-titles: [], {SOURCE}}}}}", [(ERROR, "dicom.scp.ae-titles")]),
    (
        f"dicom: {{scp: {{ae-titles: [{{ae-title: A}}, {{ae-title: A}}], {SOURCE}}}}}\n{MAPPED}",
        [(ERROR, "dicom.scp.ae-titles[1].ae-title")],
    ),
    (f"dicom: {{scp: {{ae-titles: [{{ae-title: A}}, {{ae-title: a, processors: [x:Y]}}], {SOURCE}}}}}\n{MAPPED}", []),
    (
        f"dicom: {{scp: {{ae-titles: [{{ae-title: B}}], {SOURCE}}}}}\n{MAPPED}",
        [(ERROR, "pipeline-mappings[0].clara-ae-title"), (ERROR, "dicom.scp.ae-titles[0].ae-title")],
    ),
    (
        f"dicom: {{scp: {{{SETTINGS.format('pipeline-x: p, timeout: 5')}, {SOURCE}}}}}",
        [],
    ),
    (
        f"dicom: {{scp: {{{SETTINGS.format('colour: b, groupBy: x')}, {SOURCE}}}}}\n{MAPPED}",
        [(ERROR, "dicom.scp.ae-titles[0].processor-settings")] * 2,
    ),
    ("pipeline-mappings: [{name: p, clara-ae-title: FromTheStore}]", []),
    ("dicom: {scp: {sources: []}}", [(ERROR, "dicom.scp.reject-unknown-sources")]),
    ("dicom: {scp: {sources: [], reject-unknown-sources: false}}", [(WARNING, "dicom.scp.reject-unknown-sources")]),
    ("dicom: {scp: {read-sources-from-crd: false}}", [(ERROR, "dicom.scp.reject-unknown-sources")]),
    ("dicom: {scu: {destinations: []}}", [(WARNING, "dicom.scu.destinations")]),
    (f"dicom: {{{DESTINATIONS}}}\npipelines: [{{id: p, command: [x], destinations: [pacs]}}]", []),
    (
        f"dicom: {{{DESTINATIONS}}}\npipelines: [{{id: p, command: [x], destinations: [PACS, ELSE]}}]",
        [(ERROR, "pipelines[0].destinations[1]")],
    ),
    ("pipelines: [{id: p, command: [x]}, {id: p, command: [y]}]", [(ERROR, "pipelines[1].id")]),
    ("dicom: {scp: {max-associations: 5}, scu: {max-associations: 5}}", []),
    (
        "dicom: {scp: {max-associations: 6}, scu: {max-associations: 1000}}",
        [(WARNING, "dicom.scp.max-associations"), (WARNING, "dicom.scu.max-associations")],
    ),
    (
        "dicom: {scp: {log-phi: true}, scu: {log-phi: true}}",
        [(WARNING, "dicom.scp.log-phi"), (WARNING, "dicom.scu.log-phi")],
    ),
    ("storage: {durability: none}", [(WARNING, "storage.durability")]),
    ("api: {host: 0.0.0.0}", [(ERROR, "api.host")]),
    ("api: {host: 0.0.0.0, anonymous: true}", [(WARNING, "api.host")]),
    ("api: {host: 0.0.0.0, token: 0123456789abcdef}", []),
    ("api: {host: 0.0.0.0, token-file: token}", []),
    ("api: {token-file: token}", []),
    ("api: {token: 0123456789abcdef, token-file: token}", [(ERROR, "api.token-file")]),
    ("api: {token: 0123456789abcdef, anonymous: true}", [(ERROR, "api.anonymous")]),
    ("api: {host: 0.0.0.0, token-file: token, anonymous: true}", [(ERROR, "api.anonymous")]),
    ("api: {host: localhost}", []),
    ("api: {host: '::1'}", []),
]


@pytest.mark.parametrize(("text", "expected"), RULES)
def test_rule(text: str, expected: list[tuple[Severity, str]]) -> None:
    settings = Settings.model_validate(parse(text).tree)
    assert [(finding.severity, dotted(finding.path)) for finding in check(settings)] == expected


def test_a_rule_that_reads_a_broken_part_is_left_out() -> None:
    settings = Settings.model_validate(parse("dicom: {scp: {sources: []}}").tree)
    assert check(settings)
    assert check(settings, [("dicom", "scp", "sources", 0, "host-ip")]) == []
    assert check(settings, [("dicom",)]) == []
    assert check(settings, [("storage",)]) != []
