"""Whole files: what is read, what is refused, and that everything wrong is said at once, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_adapter.config import ConfigError, Loaded, default_text, load, load_text
from dicom_adapter.config.problems import Problem

FIXTURES = Path(__file__).parents[2] / "fixtures"


def problems_of(text: str, environ: dict[str, str] | None = None) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, environ or {}, source="app.yaml")
    return caught.value.problems


def loaded(text: str) -> Loaded:
    return load_text(text, {})


# --- the specification's files


def test_the_two_pipeline_sample_loads_as_printed() -> None:
    result = load(FIXTURES / "two_pipelines.yaml", {})
    settings = result.settings
    assert [entry.ae_title for entry in settings.dicom.scp.ae_titles] == ["NVIDIADGX100", "NVIDIADGX101"]
    assert not settings.dicom.scp.read_aetitles_from_crd
    assert not settings.dicom.scp.read_sources_from_crd
    assert not settings.dicom.scu.read_destinations_from_crd
    assert settings.pipeline_ids("NVIDIADGX101") == ("3c9d3b9386d44bc2b89b7a12de9f7bda",)
    assert result.warnings == ()
    assert len(result.notes) == 3  # one for each list that is used although its switch defaults to true


def test_the_two_pipeline_sample_cannot_start_without_its_pipelines() -> None:
    result = load(FIXTURES / "two_pipelines.yaml", {})
    assert [problem.path for problem in result.unrunnable] == [
        "pipeline-mappings[0].pipeline-id",
        "pipeline-mappings[1].pipeline-id",
    ]
    with pytest.raises(ConfigError, match=r"name the Clara Platform in services\.platform-endpoint"):
        result.require_runnable()


def test_the_two_pipeline_sample_starts_with_a_platform() -> None:
    text = (FIXTURES / "two_pipelines.yaml").read_text()
    environment = {"CLARA_SERVICE_HOST": "clara", "CLARA_SERVICE_PORT_API": "50051"}
    for result in (load_text(text, environment), loaded(f"{text}\nservices: {{platform-endpoint: 'clara:50051'}}\n")):
        assert result.require_runnable() is result.settings


def test_the_two_pipeline_sample_starts_with_pipelines() -> None:
    text = (FIXTURES / "two_pipelines.yaml").read_text()
    for name in ("0fcdcdea89c6456fb20abc7379c54ef2", "3c9d3b9386d44bc2b89b7a12de9f7bda"):
        line = f"  - {{id: {name}, command: [python3, -V], destinations: [myorthanc, PACS]}}\n"
        text += line if "pipelines:\n  -" in text.split("pipeline-mappings")[1] else f"pipelines:\n{line}"
    result = loaded(text)
    assert result.require_runnable() is result.settings


def test_the_schema_loads_as_printed() -> None:
    result = load(FIXTURES / "schema_as_printed.yaml", {})
    assert result.settings.dicom.scp.port == 104
    assert result.settings.dicom.scp.verification.transfer_syntaxes
    (warning,) = result.warnings
    assert warning.path == "dicom.scp.ae-titles"
    assert "not used" in warning.message


def test_the_default_file_can_start() -> None:
    result = loaded(default_text())
    result.require_runnable()
    assert [warning.path for warning in result.warnings] == ["dicom.scu.destinations"]
    assert result.notes == ()


def test_an_empty_file_is_all_defaults() -> None:
    assert loaded("").settings == loaded("{}").settings == loaded("# nothing\n").settings


# --- YAML


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("dicom:\n\tscp:\n", 2, 1, "tabs"),
        ("dicom: [1\n", 2, 1, "not valid YAML"),
        ("dicom: {}\n---\ndicom: {}\n", 2, 1, "another document"),
        ("- dicom\n", 1, 1, "mapping"),
        ("dicom: {}\ndicom: {}\n", 2, 1, "twice"),
        ("? [a]\n: 1\n", 1, 3, "plain text"),
        ("log: !!python/object/apply:os.system {level: info}\n", 1, 6, "tags"),
        ("log: *nobody\n", 1, 6, "alias"),
        ('log: {level: "\\ud800"}\n', 1, 14, "half a character"),
        ("log: {level: inf\u0007o}\n", None, None, "control character"),
    ],
)
def test_what_is_no_configuration_as_yaml(text: str, line: int | None, column: int | None, words: str) -> None:
    problem = problems_of(text)[0]
    assert (problem.line, problem.column) == (line, column)
    assert words in problem.render()


@pytest.mark.parametrize(
    "bomb",
    [
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{n}: &{n} [{', '.join([f'*{p}'] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)),
        "a: &a [*a]\n",
        "a: " + "[" * 100 + "]" * 100 + "\n",
        "a: " + "[" * 20_000 + "\n",
        "a: " + "x" * 2_000_000 + "\n",
    ],
    ids=["anchors", "self-reference", "deep", "very deep", "long"],
)
def test_bombs_are_refused(bomb: str) -> None:
    assert problems_of(bomb)


def test_aliases_are_fine() -> None:
    text = "dicom:\n  scp: {max-associations: &n 3}\n  scu: {max-associations: *n}\n"
    assert loaded(text).settings.dicom.scu.max_associations == 3


def test_text_stays_text() -> None:
    ae_titles = "[{ae-title: NO}, {ae-title: 0123}, {ae-title: 1e5}]"
    text = f"dicom: {{scp: {{reject-unknown-sources: false, ae-titles: {ae_titles}}}}}\n"
    mappings = "".join(
        f"  - {{name: 0099, clara-ae-title: {name}, pipeline-id: 007}}\n" for name in ("NO", "0123", "1e5")
    )
    settings = loaded(text + "pipeline-mappings:\n" + mappings).settings
    assert [entry.ae_title for entry in settings.dicom.scp.ae_titles] == ["NO", "0123", "1e5"]
    assert settings.pipeline_ids("NO") == ("007",)


# --- errors


MANY = """\
dicom:
  scp:
    port: 70000
    max-asociations: 3
    ae-titles:
      - ae-title: AVERYLONGAETITLE17
    sources:
      - host-ip: 1.2.3.4
  scu:
    destinations:
      - {name: X, host-ip: 1.2.3.4, port: 104, ae-title: X}
      - {name: x, host-ip: 1.2.3.5, port: 104, ae-title: Y}
log:
  level: loud
  level: info
"""


def test_every_problem_at_once_in_the_order_of_the_file() -> None:
    found = [
        (problem.line, problem.column, problem.path) for problem in problems_of(MANY, {"CLARA_SERVICE_HOST": "a b"})
    ]
    assert found == [
        (None, None, "CLARA_SERVICE_HOST"),
        (3, 5, "dicom.scp.port"),
        (4, 5, "dicom.scp.max-asociations"),
        (6, 9, "dicom.scp.ae-titles[0].ae-title"),
        (8, 9, "dicom.scp.sources[0].ae-title"),
        (12, 10, "dicom.scu.destinations[1].name"),
        (14, 3, "log.level"),
        (15, 3, "log.level"),
    ]


def test_an_unknown_key_hides_no_contradiction() -> None:
    text = """\
dicom:
  scp:
    read-aetitles-from-crd: false
    ae-titles:
      - {ae-title: C, colour: red, pipeline: p}
      - {ae-title: C}
  scu:
    destinations:
      - {name: X, host-ip: h, port: 104, ae-title: X, prot: 1}
      - {name: x, host-ip: h, port: 104, ae-title: Y}
pipelines:
  - {id: q, engine: process, command: [a], retry: 1, destinations: [NOWHERE]}
"""
    found = [(problem.line, problem.path) for problem in problems_of(text)]
    assert found == [
        (5, "dicom.scp.ae-titles[0].ae-title"),  # mapped to no pipeline
        (5, "dicom.scp.ae-titles[0].colour"),
        (5, "dicom.scp.ae-titles[0].pipeline"),
        (6, "dicom.scp.ae-titles[1].ae-title"),  # twice
        (6, "dicom.scp.ae-titles[1].ae-title"),
        (9, "dicom.scu.destinations[0].prot"),
        (10, "dicom.scu.destinations[1].name"),
        (12, "pipelines[0].retry"),
        (12, "pipelines[0].destinations[0]"),
    ]


def test_the_report_is_for_people() -> None:
    report = ConfigError(problems_of(MANY), "app.yaml").render()
    assert report.startswith("app.yaml: 7 problems\napp.yaml:3:5: dicom.scp.port: wrong value\n    found: '70000'\n")
    assert "    hint: did you mean `max-associations`?" in report


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("dicom: {scp: {prot: 104}}", "port"),
        ("dicom: {scp: {ae_titles: []}}", "ae-titles"),
        ("dicom: {scp: {aeTitles: []}}", "ae-titles"),
        ("pipeline-mapping: []", "pipeline-mappings"),
        ("durability: none", "storage.durability"),
        ("dicom: {scp: {sources: [{host: h, ae-title: A}]}}", "host-ip"),
    ],
)
def test_unknown_keys_name_the_nearest_known_one(text: str, suggestion: str) -> None:
    problem = next(problem for problem in problems_of(text) if problem.message == "unknown key")
    assert problem.hint == f"did you mean `{suggestion}`?"


def test_an_unknown_key_without_a_value_is_still_unknown() -> None:
    assert [problem.message for problem in problems_of("dicom:\n  scp:\n    prot:\n")] == ["unknown key"]


def test_what_is_shown_cannot_write_into_a_terminal() -> None:
    text = 'log: {"lev\\e[31mel": x, level: "\\e[2J\\n"}\n'
    report = ConfigError(problems_of(text)).render()
    assert "\x1b" not in report
    assert report.count("\\x1b") == 2


@pytest.mark.parametrize(
    "value", ["secret", "secret secret secret", "secretsecretsecr\u00e9t", "[secret]", "'secret\\x1b[2J'"]
)
def test_a_wrong_token_is_not_shown(value: str) -> None:
    (problem,) = problems_of(f"api: {{token: {value}}}")
    assert (problem.path, problem.line, problem.column) == ("api.token", 1, 7)
    assert problem.allowed is not None
    assert "16 to 512" in problem.allowed
    assert "secret" not in problem.render()


def test_a_token_is_no_part_of_the_settings_in_words() -> None:
    settings = loaded("api: {token: secret-0123456789abcdef}").settings
    assert settings.api.token is not None
    assert settings.api.token.get_secret_value() == "secret-0123456789abcdef"
    assert "secret" not in f"{settings!r}{settings}{settings.model_dump_json()}"


def test_an_api_for_others_without_a_token_says_where() -> None:
    (problem,) = problems_of("api:\n  host: 0.0.0.0\n")
    assert (problem.path, problem.line, problem.column) == ("api.host", 2, 3)


def test_a_missing_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "absent.yaml", {})
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "binary.yaml", {})


@pytest.mark.parametrize("text", ["{}\n", "storage:\n", "storage: {durability: none}\n", "storage: {temporary: }\n"])
def test_the_default_folder_starts_at_the_file_too(tmp_path: Path, text: str) -> None:
    file = tmp_path / "adapter.yaml"
    file.write_text(text)
    assert load(file, {}).settings.storage.temporary == tmp_path / "storage"


def test_a_relative_token_file_starts_at_the_file_too(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text("api: {token-file: ./secrets/token}")
    assert load(tmp_path / "app.yaml", {}).settings.api.token_file == tmp_path / "secrets" / "token"


def test_relative_folders_start_at_the_file(tmp_path: Path) -> None:
    file = tmp_path / "app.yaml"
    file.write_text("storage: {temporary: ./storage}\n")
    assert load(file, {}).settings.storage.temporary == tmp_path / "storage"
    file.write_text("storage: {temporary: /var/spool}\n")
    assert load(file, {}).settings.storage.temporary == Path("/var/spool")
    file.write_text("storage: {temporary: ~/spool}\n")
    assert load(file, {}).settings.storage.temporary == Path("~/spool").expanduser()


# --- read-*-from-crd


LISTS = """\
dicom: {scp: {%s ae-titles: [{ae-title: A}], reject-unknown-sources: false}}
pipeline-mappings: [{name: p, clara-ae-title: A}]
"""


@pytest.mark.parametrize(
    ("switch", "from_store", "warned", "noted"),
    [
        ("", False, [], ["dicom.scp.ae-titles"]),
        ("read-aetitles-from-crd: false,", False, [], []),
        ("read-aetitles-from-crd: true,", True, ["dicom.scp.ae-titles"], []),
    ],
)
def test_a_list_without_its_switch_is_used(switch: str, from_store: bool, warned: list[str], noted: list[str]) -> None:
    result = loaded(LISTS % switch)
    assert result.settings.dicom.scp.read_aetitles_from_crd is from_store
    assert [problem.path for problem in result.warnings] == warned
    assert [problem.path for problem in result.notes] == noted
