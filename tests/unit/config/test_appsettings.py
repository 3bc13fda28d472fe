"""appsettings.json -> YAML: golden files, and what .NET reads and we do not guess."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_adapter.config import ConfigError, Settings, load_text
from dicom_adapter.config.appsettings import convert
from dicom_adapter.config.document import parse

FOLDER = Path(__file__).parents[2] / "fixtures" / "migration"
FILES = sorted(FOLDER.glob("*.json"))


def converted(section: dict[str, Any], **others: Any) -> Settings:
    """The settings of a DicomAdapter section, beside the other sections of the file."""
    return load_text(convert(json.dumps({"DicomAdapter": section, **others})), {}).settings


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_golden_files(file: Path) -> None:
    """What is written, comments and all. `python -m dicom_adapter dicom config convert FILE` makes it anew."""
    assert convert(file.read_text()) == file.with_suffix(".yaml").read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_is_written_is_a_configuration(file: Path) -> None:
    load_text(file.with_suffix(".yaml").read_text(), {})


def test_there_is_a_file_of_each_generation() -> None:
    assert [file.stem for file in FILES] == ["database_0.8.2", "lists_0.7.3", "shipped_0.7.3"]


def test_names_are_matched_without_case_as_the_original_did() -> None:
    assert converted({"DICOM": {"Scp": {"PORT": 11112}}}).dicom.scp.port == 11112


def test_names_with_dashes_are_taken_as_they_were_meant_and_a_remark_says_that_they_were_not_in_force() -> None:
    text = convert('{"DicomAdapter": {"dicom": {"scu": {"ae-title": "SITE"}}}}')
    assert load_text(text, {}).settings.dicom.scu.ae_title == "SITE"
    assert "# - DicomAdapter>dicom>scu>ae-title: the original did not read a name with dashes" in text


@pytest.mark.parametrize(
    ("others", "scp", "scu"), [({}, 100, 2), ({"ConnectionStrings": {"DicomAdapterDatabase": "x"}}, 25, 8)]
)
def test_defaults_are_those_of_its_generation(others: dict[str, Any], scp: int, scu: int) -> None:
    dicom = converted({}, **others).dicom
    assert (dicom.scp.max_associations, dicom.scu.max_associations) == (scp, scu)
    assert dicom.scp.read_aetitles_from_crd


@pytest.mark.parametrize(("written", "expected"), [(None, 5), (0, 5), (4, 5), (5, 5), (300, 300), ("7", 7)])
def test_time_outs_are_what_they_were(written: Any, expected: int) -> None:
    settings = {"pipeline-a": "id"} | ({} if written is None else {"timeout": written})
    section = {
        "readAeTitlesFromCrd": False,
        "dicom": {"scp": {"rejectUnknownSources": False, "aeTitles": [{"processorSettings": settings}]}},
    }
    (entry,) = converted(section).dicom.scp.ae_titles
    assert (entry.ae_title, entry.timeout) == ("ClaraSCP", expected)
    assert entry.processor_settings["groupBy"] == "0020,000D"


@pytest.mark.parametrize(
    ("logging", "expected"),
    [
        ({"Logging": {"LogLevel": {"Default": "Trace"}}}, "debug"),
        ({"Logging": {"LogLevel": {"Default": "Critical"}}}, "error"),
        ({"Serilog": {"MinimumLevel": "Warning"}}, "warning"),
        ({"Serilog": {"MinimumLevel": {"Default": "Verbose"}}}, "debug"),
        ({"Logging": {"LogLevel": {"Default": "Loud"}}}, "info"),
        ({}, "info"),
    ],
)
def test_levels(logging: dict[str, Any], expected: str) -> None:
    assert converted({}, **logging).log.level == expected


@pytest.mark.parametrize(("written", "expected"), [(500, 0.5), ("1500", 1.5), (None, 0.5)])
def test_milliseconds_become_seconds(written: Any, expected: float) -> None:
    section = {"dicom": {"scu": {"export": {"pollFrequencyMs": written}}}}
    assert converted(section).services.results_poll_interval == expected


def test_nothing_is_dropped_in_silence() -> None:
    text = convert(
        '{"DicomAdapter": {"dicom": {"scp": {"aeTitles": [{"aeTitle": "A", "color": 3}]}}, "x": [1]}, "Y": 1}'
    )
    for path in ("DicomAdapter>dicom>scp>aetitles[0]>color ('3')", "DicomAdapter>x (a list)", "Y: "):
        assert f"# - {path}" in text


@pytest.mark.parametrize(
    "text",
    [
        '{"DicomAdapter": {"dicom": {"scp": {"port": 1}}}}',
        '{"DicomAdapter": {"dicom": {"scp": {"port": 1,}, },},}',
        '// one\n{"DicomAdapter": {/* two */ "dicom": {"scp": {"port": 1, // three\n}}}}',
    ],
)
def test_json_is_read_as_dot_net_reads_it(text: str) -> None:
    assert load_text(convert(text), {}).settings.dicom.scp.port == 1


def test_a_comment_within_text_is_text() -> None:
    section = {"services": {"resultsServiceEndpoint": "http://results/a"}, "storage": {"temporary": "/a,}/*b*/c"}}
    settings = converted(section)
    assert settings.services.results_service_endpoint == "http://results/a"
    assert str(settings.storage.temporary) == "/a,}/*b*/c"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ('{"DicomAdapter": {"dicom": }}', "line 1"),
        ("[]", "must be a JSON object"),
        ('{"Logging": {}}', "no section DicomAdapter"),
        ('{"InformaticsGateway": {}}', "config import"),
        ('{"DicomAdapter": []}', "no section DicomAdapter"),
        ('{"DicomAdapter": ' + "1" * 5000 + "}", "not valid JSON"),
        ("[" * 100_000, "nested too deep"),
        ("x" * (1 << 20 | 1), "too large"),
    ],
)
def test_what_is_no_such_file(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        convert(text, "appsettings.json")
    assert words in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)
KNOWN = st.sampled_from(["dicom", "scp", "scu", "aeTitles", "sources", "port", "storage", "temporary", "verification"])


@settings(deadline=None)
@given(st.dictionaries(KNOWN | st.text(max_size=5), JSON, max_size=5))
def test_whatever_stands_there_is_answered_in_words(section: dict[str, Any]) -> None:
    """It may be no configuration yet, but it is YAML, and `config check` tells each problem with its place."""
    problems = parse(convert(json.dumps({"DicomAdapter": section}))).problems
    assert [problem.message for problem in problems if "not valid YAML" in problem.message] == []


@settings(deadline=None)
@given(st.text(max_size=20))
def test_a_name_cannot_end_its_comment(name: str) -> None:
    text = convert(json.dumps({"DicomAdapter": {f"x{name}": "a\nstorage: {temporary: /evil}"}}))
    assert str(load_text(text, {}).settings.storage.temporary) == "payloads"
