"""Settings and resources become the snapshot."""

from __future__ import annotations

import asyncio
from pathlib import Path

from dicom_adapter.config import Settings, build_snapshot, load, read_resources
from dicom_adapter.config.resources import ClaraAeTitle, ClaraAeTitleSpec, Kind, Metadata, Resources
from dicom_adapter.config_stores.file import FileConfigStore
from dicom_adapter.core.snapshot import ConfigSnapshot, Destination, ScpPolicy, Source, platform_pipeline

FIXTURE = Path(__file__).parents[2] / "fixtures" / "two_pipelines.yaml"


def snapshot_of(settings: Settings) -> ConfigSnapshot:
    store = FileConfigStore(settings)
    return build_snapshot(settings, asyncio.run(read_resources(settings, store, store)), version=7)


def test_the_two_pipeline_sample() -> None:
    snapshot = snapshot_of(load(FIXTURE, {}).settings)
    assert snapshot.version == 7
    assert {title: value.pipelines for title, value in snapshot.ae_titles.items()} == {
        "NVIDIADGX100": ("0fcdcdea89c6456fb20abc7379c54ef2",),
        "NVIDIADGX101": ("3c9d3b9386d44bc2b89b7a12de9f7bda",),
    }
    assert snapshot.sources == (Source("DCM4CHEE", "1.2.3.4"),)
    assert snapshot.destinations == {
        "myorthanc": Destination("MyOrthanc", "ORTHANC", "1.2.3.5", 104),
        "pacs": Destination("PACS", "DCM4CHEE", "1.2.3.6", 104),
    }
    assert snapshot.scp == ScpPolicy()


def test_defaults_of_the_schema_and_of_the_core_agree() -> None:
    assert build_snapshot(Settings(), Resources(), version=1).scp == ScpPolicy()


def test_pipelines_of_the_platform_by_the_names_that_they_are_given() -> None:
    mappings = [
        {"name": "lung_ai", "clara-ae-title": "A", "pipeline-id": "0fcd"},
        {"name": "again", "clara-ae-title": "B", "pipeline-id": "0fcd"},
        {"name": "here", "clara-ae-title": "A", "pipeline-id": "ours"},
    ]
    base = {"pipeline-mappings": mappings, "pipelines": [{"id": "ours", "command": ["x"]}]}
    spec = ClaraAeTitleSpec.model_validate({"aeTitle": "A", "processorSettings": {"pipeline-liver": "3c9d"}})
    resources = Resources(ae_titles=(ClaraAeTitle(metadata=Metadata(name="a"), spec=spec),))

    alone = build_snapshot(Settings.model_validate(base), resources, version=1)
    assert set(alone.pipelines) == {"ours"}
    assert alone.pipeline("0fcd") is None

    services = {"services": {"platform-endpoint": "localhost:50051"}}
    snapshot = build_snapshot(Settings.model_validate(base | services), resources, version=1)
    assert {one.id: (one.name, one.engine) for one in snapshot.pipelines.values()} == {
        "0fcd": ("lung_ai", "clara-platform"),
        "3c9d": ("liver", "clara-platform"),
        "ours": ("ours", "process"),
    }
    assert snapshot.pipeline("ours") is snapshot.pipelines["ours"]
    assert snapshot.pipeline("asked for by a plug-in") == platform_pipeline("asked for by a plug-in")


def test_a_pipeline_with_everything() -> None:
    settings = Settings.model_validate(
        {
            "pipelines": [
                {
                    "id": "p",
                    "command": ["x", "{input}"],
                    "environment": {"MODEL": "/m"},
                    "timeout": "10",
                    "retries": "2",
                    "destinations": ["PACS"],
                    "cpu": "2",
                    "memory": "4GiB",
                    "concurrency": "3",
                }
            ]
        }
    )
    pipeline = build_snapshot(settings, Resources(), version=1).pipelines["p"]
    assert (pipeline.name, pipeline.engine, pipeline.command) == ("p", "process", ("x", "{input}"))
    assert (pipeline.environment, pipeline.timeout, pipeline.retries) == ({"MODEL": "/m"}, 10.0, 2)
    assert (pipeline.destinations, pipeline.cpu, pipeline.memory, pipeline.concurrency) == (("PACS",), 2, 4 << 30, 3)


def test_a_resource_names_its_pipelines_and_mappings_add_to_them() -> None:
    settings = Settings.model_validate(
        {"pipeline-mappings": [{"name": "m", "clara-ae-title": "A", "pipeline-id": "three"}]}
    )
    spec = ClaraAeTitleSpec(
        name="a", ae_title="A", pipeline_id="one", processor_settings={"pipeline-x": "two", "groupBy": "0020000D"}
    )
    resource = ClaraAeTitle(metadata=Metadata(name="a"), spec=spec)
    title = build_snapshot(settings, Resources(ae_titles=(resource,)), version=1).ae_titles["A"]
    assert title.pipelines == ("one", "two", "three")
    assert title.settings["groupBy"] == "0020000D"


def test_the_later_generation_says_processor_and_timeout_its_own_way() -> None:
    spec = ClaraAeTitleSpec(
        name="a", ae_title="A", processor="job", processor_settings={"pipeline-x": "p", "timeout": "5"}
    )
    resource = ClaraAeTitle(metadata=Metadata(name="a"), spec=spec)
    title = build_snapshot(Settings(), Resources(ae_titles=(resource,)), version=1).ae_titles["A"]
    assert (title.processors, title.timeout, title.pipelines) == (("job",), 5.0, ("p",))
    own = resource.model_copy(update={"spec": spec.model_copy(update={"processor": "x:Y", "timeout": 7})})
    title = build_snapshot(Settings(), Resources(ae_titles=(own,)), version=1).ae_titles["A"]
    assert (title.processors, title.timeout) == (("x:Y",), 7.0)  # what its settings mean is that processor's affair


def test_each_switch_chooses_its_own_store() -> None:
    settings = Settings.model_validate(
        {
            "dicom": {
                "scp": {
                    "read-aetitles-from-crd": True,
                    "ae-titles": [{"ae-title": "LISTED"}],
                    "sources": [{"host-ip": "1.2.3.4", "ae-title": "LISTED"}],
                }
            }
        }
    )
    empty = FileConfigStore(Settings.model_validate({"dicom": {"scp": {"ae-titles": []}}}))
    resources = asyncio.run(read_resources(settings, FileConfigStore(settings), empty))
    assert resources.ae_titles == ()
    assert [source.kind for source in resources.sources] == [Kind.SOURCE]
