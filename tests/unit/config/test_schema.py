"""The schema: ranges as a table, defaults as the specification prints them."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_adapter.config import ConfigError, Settings, load_text
from dicom_adapter.config.document import parse
from dicom_adapter.config.reference import keys
from dicom_adapter.config.schema import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Services
from dicom_adapter.core.snapshot import DEFAULT_PROCESSOR
from tests.tables.config_ranges import CONFIG_RANGES

ACCEPTED = [(path, value) for path, accepted, _ in CONFIG_RANGES for value in accepted]
REFUSED = [(path, value) for path, _, refused in CONFIG_RANGES for value in refused]


def yaml_of(path: str, value: str) -> str:
    lines = [f"{'  ' * depth}{part}:" for depth, part in enumerate(path.split("."))]
    return "\n".join(lines) + f" {value}\n"


@pytest.mark.parametrize(("path", "value"), ACCEPTED)
def test_accepts(path: str, value: str) -> None:
    Settings.model_validate(parse(yaml_of(path, value)).tree)


@pytest.mark.parametrize(("path", "value"), REFUSED)
def test_refuses_and_says_where_and_what_is_allowed(path: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(yaml_of(path, value), {})
    (problem,) = caught.value.problems
    assert problem.path.startswith(path)
    assert problem.line == path.count(".") + 1
    assert problem.found
    assert problem.allowed


def test_every_key_with_a_bound_is_in_the_table() -> None:
    tabled = {path for path, _, _ in CONFIG_RANGES}
    bounded = {key.path for key in keys() if "[]" not in key.path and key.type in ("int", "number", "choice")}
    assert bounded <= tabled


SPECIFIED_DEFAULTS: list[tuple[str, Any]] = [
    ("dicom.scp.port", 104),
    ("dicom.scp.read_aetitles_from_crd", True),
    ("dicom.scp.read_sources_from_crd", True),
    ("dicom.scp.max_associations", 2),
    ("dicom.scp.verification.enabled", True),
    ("dicom.scp.reject_unknown_sources", True),
    ("dicom.scp.log_dimse_datasets", False),
    ("dicom.scp.sources", ()),
    ("dicom.scu.ae_title", "ClaraSCU"),
    ("dicom.scu.max_associations", 2),
    ("dicom.scu.log_dimse_datasets", False),
    ("dicom.scu.log_data_pdus", False),
    ("dicom.scu.read_destinations_from_crd", True),
    ("dicom.scu.destinations", ()),
    ("pipeline_mappings", ()),
    ("services.platform_endpoint", "localhost:50051"),
    ("services.results_service_endpoint", "http://localhost:50080"),
    ("dicom.max_pdu_length", 262144),
    ("storage.durability", "instance"),
    ("api.host", "127.0.0.1"),
    ("api.port", 5000),
]


@pytest.mark.parametrize(("path", "default"), SPECIFIED_DEFAULTS)
def test_default(path: str, default: object) -> None:
    value: Any = Settings()
    for part in path.split("."):
        value = getattr(value, part)
    assert value == default


def test_default_ae_title_entry() -> None:
    (entry,) = Settings().dicom.scp.ae_titles
    assert (entry.ae_title, entry.timeout, entry.overwrite_same_instance) == ("ClaraSCP", 0, False)
    assert entry.processors == (DEFAULT_PROCESSOR,)


def test_defaults_obey_their_own_ranges() -> None:
    dumped = Settings().model_dump(mode="json", by_alias=True)
    assert Settings.model_validate(dumped) == Settings()


def test_we_do_not_announce_ourselves_as_another_product() -> None:
    assert IMPLEMENTATION_CLASS_UID.startswith("2.25.")
    assert len(IMPLEMENTATION_CLASS_UID) <= 64
    assert len(IMPLEMENTATION_VERSION_NAME) <= 16


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().dicom.scp.port = 1


@pytest.mark.parametrize(("text", "size"), [("1GiB", 1 << 30), ("1.5 KiB", 1536), ("2MB", 2_000_000), ("7", 7)])
def test_sizes(text: str, size: int) -> None:
    assert load_text(f"storage: {{reserve-space: {text}}}", {}).settings.storage.reserve_space == size


def mappings(*pairs: tuple[str, str | None]) -> Settings:
    return Settings.model_validate(
        {
            "pipeline-mappings": [
                {"name": name, "clara-ae-title": "A", **({"pipeline-id": pipeline} if pipeline else {})}
                for name, pipeline in pairs
            ],
            "pipelines": [{"id": "0fcd", "name": "ct", "command": ["true"]}],
        }
    )


@pytest.mark.parametrize(
    ("pairs", "ids"),
    [
        ([("any", "0fcd")], ("0fcd",)),
        ([("any", "ct")], ("0fcd",)),  # "Name/ID of the pipeline"
        ([("ct", None)], ("0fcd",)),  # pipeline-id is optional
        ([("any", "else")], ("else",)),
        ([("ct", "0fcd"), ("ct", None), ("x", "y")], ("0fcd", "y")),
    ],
)
def test_a_mapping_names_a_pipeline_by_id_or_by_name(pairs: list[tuple[str, str | None]], ids: tuple[str, ...]) -> None:
    settings = mappings(*pairs)
    assert settings.pipeline_ids("A") == ids
    assert settings.pipeline_ids("B") == ()
    assert settings.unrunnable_pipelines() == tuple(name for name in ids if name != "0fcd")
    services = Services.model_validate({"platform-endpoint": "localhost:50051"})
    assert settings.model_copy(update={"services": services}).unrunnable_pipelines() == ()


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("{}", None),  # the specified default alone names no platform
        ("services:", None),
        ("services: {platform-endpoint: }", None),
        ("services: {parallel-uploads: 2}", None),
        ("services: {platform-endpoint: localhost:50051}", "localhost:50051"),
        ("services: {platform-endpoint: clara:1}", "clara:1"),
    ],
)
def test_a_platform_is_there_where_it_is_named(text: str, platform: str | None) -> None:
    assert load_text(text, {}).settings.services.platform == platform


def test_the_environment_names_a_platform() -> None:
    environment = {"CLARA_SERVICE_HOST": "10.0.0.1", "CLARA_SERVICE_PORT_API": "50051"}
    assert load_text("{}", environment).settings.services.platform == "10.0.0.1:50051"
