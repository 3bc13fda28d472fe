"""Every key of the configuration file: its type, default, range and meaning, nested as the file is.

`spec` marks a key of the specification, `ours` one that this adapter adds. The table in docs/configuration.md and the
words of an error report are made from here (`reference.py`), so a key is described once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dicom_adapter.config.fields import (
    AETitle,
    Allowed,
    Argument,
    Associations,
    Between,
    Bind,
    Choice,
    Command,
    Endpoint,
    EnvironmentName,
    Flag,
    Folder,
    Host,
    Memory,
    Name,
    Namespace,
    Port,
    Retention,
    Seconds,
    Size,
    Token,
    TransferSyntaxes,
    Uid,
    Url,
    VersionName,
)
from dicom_adapter.core.snapshot import DEFAULT_PROCESSOR

# Ours, made from a random UUID (PS3.5 B.2). The specified pair is another product's; docs/configuration.md shows it.
IMPLEMENTATION_CLASS_UID = "2.25.327366325259770031685682391821272663637"
IMPLEMENTATION_VERSION_NAME = "DICOM_ADAPTER_01"  # PS3.7 D.3.3.2.4: at most 16 characters

_REQUIRED: Any = ...


def spec(default: Any, meaning: str) -> Any:
    """A key of the specification (12.1.3.3)."""
    return Field(default, description=meaning, json_schema_extra={"origin": "spec"})


def ours(default: Any, meaning: str) -> Any:
    """A key that this adapter adds."""
    return Field(default, description=meaning, json_schema_extra={"origin": "ours"})


class Section(BaseModel):
    """A mapping of the file. Keys are written with dashes; a key without a value has its default."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
        allow_inf_nan=False,
        validate_default=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, data: Any) -> Any:
        # The specification's own schema prints keys without a value ("timeout: # default 0").
        if data is None:
            return {}
        if not isinstance(data, Mapping):
            return data
        known = {field.alias for field in cls.model_fields.values()}
        return {key: value for key, value in data.items() if value is not None or key not in known}


def _list_given_is_list_used(data: Any, switch: str, listed: str) -> Any:
    """The specification's sample has lists but no switch and yet uses them: a list without its switch turns it off."""
    if isinstance(data, Mapping) and switch not in data and listed in data:
        return {**data, switch: False}
    return data


class AeTitleEntry(Section):
    """An entry of dicom.scp.ae-titles."""

    ae_title: AETitle = spec("ClaraSCP", "AE Title that peers call. Compared exactly, upper and lower case differ.")
    timeout: Annotated[int, Between(0, 86_400), Allowed("whole seconds, 0 to 86400")] = spec(
        0,
        "0: one batch for each released association. More: a batch of all associations, closed when no instance came"
        " for that long.",
    )
    overwrite_same_instance: Flag = spec(False, "Whether an instance received again replaces the one already there.")
    ignored_sop_classes: tuple[Uid, ...] = spec((), "SOP Classes that are answered with Success and not stored.")
    processors: tuple[Name, ...] = spec(
        (DEFAULT_PROCESSOR,), "What is done with a batch: plug-in names or module:Class."
    )
    processor_settings: Mapping[Name, Argument] = ours({}, "Settings that are handed to the processors.")


class SourceEntry(Section):
    """An entry of dicom.scp.sources."""

    host_ip: Host = spec(_REQUIRED, "Where the source calls from.")
    ae_title: AETitle = spec(_REQUIRED, "Its calling AE Title. Upper and lower case are the same.")


class Verification(Section):
    """dicom.scp.verification"""

    enabled: Flag = spec(True, "Whether C-ECHO is answered.")
    transfer_syntaxes: TransferSyntaxes = spec(
        ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"),
        "Transfer syntaxes accepted for the Verification SOP Class.",
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_as_the_schema_prints_it(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("transfer-syntaxes") == [[]]:  # "- []": none given
            return {key: value for key, value in data.items() if key != "transfer-syntaxes"}
        return data


class KeepAlive(Section):
    """dicom.scp.keep-alive: TCP keep-alive, for peers that vanish without a word."""

    idle: Annotated[int, Between(1, 32_767), Allowed("whole seconds, 1 to 32767")] = ours(
        60, "Silence before TCP asks whether the peer is still there."
    )


class Scp(Section):
    """dicom.scp"""

    port: Port = spec(104, "TCP port of the SCP. Below 1024 needs root or CAP_NET_BIND_SERVICE.")
    bind: Bind = ours("all", "Address the SCP listens on.")
    read_aetitles_from_crd: Flag = spec(
        True,
        "true: Clara AE Titles are the resources of the store, and ae-titles is not used. Absent while ae-titles is"
        " there: false.",
    )
    read_sources_from_crd: Flag = spec(True, "The same for sources.")
    ae_titles: tuple[AeTitleEntry, ...] = spec((AeTitleEntry(),), "Clara AE Titles.")
    max_associations: Associations = spec(2, "Associations at once; one more is rejected (local limit exceeded).")
    verification: Verification = spec(Verification(), "Verification service (C-ECHO).")
    reject_unknown_sources: Flag = spec(True, "Whether only `sources` may open associations.")
    check_source_host: Flag = ours(True, "Whether a source's host must match too; false for networks with NAT.")
    log_dimse_datasets: Flag = spec(False, "Whether command sets and data sets are logged; patient data is masked.")
    log_phi: Flag = ours(False, "Whether those logs show patient data unmasked.")
    sources: tuple[SourceEntry, ...] = spec((), "Peers that may open associations.")
    artim_timeout: Seconds = ours(30.0, "ARTIM timer: for the association request, and for the peer to close.")
    idle_timeout: Seconds = ours(60.0, "Longest time for one whole PDU of an open association.")
    write_timeout: Seconds = ours(60.0, "Longest time for a peer to take what is sent to it.")
    keep_alive: KeepAlive = ours(KeepAlive(), "TCP keep-alive.")
    shutdown_grace: Annotated[float, Between(0, 3600), Allowed("seconds, 0 to 3600")] = ours(
        30.0, "At a stop: time for open associations to finish before they are aborted."
    )
    max_pending_connections: Annotated[int, Between(1, 10_000), Allowed("1 to 10000")] = ours(
        128, "Connections without an association yet; beyond it the oldest silent one is dropped."
    )
    worker_processes: Annotated[int, Between(0, 64), Allowed("0 to 64")] = ours(
        0,
        "Processes that may serve associations at once. 0: one for each core, and no more than max-associations. Two"
        " are started, others as they are needed.",
    )

    @model_validator(mode="before")
    @classmethod
    def _lists_given_are_used(cls, data: Any) -> Any:
        data = _list_given_is_list_used(data, "read-aetitles-from-crd", "ae-titles")
        return _list_given_is_list_used(data, "read-sources-from-crd", "sources")


class DestinationEntry(Section):
    """An entry of dicom.scu.destinations."""

    name: Name = spec(_REQUIRED, "Name that pipelines and tasks use. Upper and lower case are the same.")
    host_ip: Host = spec(_REQUIRED, "Where it listens.")
    port: Port = spec(_REQUIRED, "Its TCP port.")
    ae_title: AETitle = spec(_REQUIRED, "Its AE Title, called as it is written here.")


class Scu(Section):
    """dicom.scu"""

    ae_title: AETitle = spec("ClaraSCU", "Calling AE Title; also the agent name at the Results Service.")
    max_associations: Associations = spec(2, "Associations at once, over all destinations.")
    log_dimse_datasets: Flag = spec(False, "Whether command sets and data sets are logged; patient data is masked.")
    log_data_pdus: Flag = spec(False, "Whether one line is logged for each P-DATA-TF PDU; never its contents.")
    log_phi: Flag = ours(False, "Whether log-dimse-datasets shows patient data unmasked.")
    read_destinations_from_crd: Flag = spec(
        True,
        "true: destinations are the resources of the store, and the list is not used. Absent while destinations is"
        " there: false.",
    )
    destinations: tuple[DestinationEntry, ...] = spec((), "Peers that results are sent to.")
    connect_timeout: Seconds = ours(10.0, "Longest time for the TCP connection.")
    response_timeout: Seconds = ours(60.0, "Longest time for the answer to a request.")
    retry_delays: Annotated[tuple[Seconds, ...], Allowed("a list of seconds; its length is the number of tries")] = (
        ours((60.0, 600.0, 3600.0), "Waits before each further try of a failed export; after the last it is given up.")
    )
    warnings: Literal["success", "failure"] = ours("success", "What a C-STORE status Bxxx counts as.")

    @model_validator(mode="before")
    @classmethod
    def _list_given_is_used(cls, data: Any) -> Any:
        return _list_given_is_list_used(data, "read-destinations-from-crd", "destinations")


class Implementation(Section):
    """dicom.implementation: how we announce ourselves (PS3.7 D.3.3.2)."""

    class_uid: Uid = ours(IMPLEMENTATION_CLASS_UID, "Implementation Class UID.")
    version_name: VersionName = ours(IMPLEMENTATION_VERSION_NAME, "Implementation Version Name.")


class Dicom(Section):
    """dicom"""

    scp: Scp = spec(Scp(), "DICOM SCP service.")
    scu: Scu = spec(Scu(), "DICOM SCU service.")
    max_pdu_length: Annotated[int, Between(16_384, 1_048_576), Allowed("bytes, 16384 to 1048576")] = ours(
        262_144, "Maximum PDU length that is announced and enforced."
    )
    implementation: Implementation = ours(Implementation(), "How the adapter names itself to peers.")


class PipelineMapping(Section):
    """An entry of pipeline-mappings."""

    name: Name = spec(_REQUIRED, "Name of the pipeline.")
    clara_ae_title: AETitle = spec(
        _REQUIRED, "The Clara AE Title whose batches it gets. Several mappings may name one."
    )
    pipeline_id: Name | None = spec(None, "Id or name of the pipeline. Default: the mapping's name.")


class Storage(Section):
    """storage"""

    temporary: Folder = spec(
        Path("./storage"), "Where received instances, results and the adapter's database are kept."
    )
    durability: Literal["instance", "association", "none"] = ours(
        "instance",
        "What C-STORE Success promises: `instance` on disk before the answer; `association` on disk before the answer"
        " to the release; `none` written, not synced.",
    )
    aborted_retention: Retention = ours(86_400.0, "How long instances of aborted associations are kept aside. 0: not.")
    interrupted: Literal["hold", "submit"] = ours(
        "hold", "What becomes of instances acknowledged on an association that our own end cut off."
    )
    retention: Retention = ours(86_400.0, "How long instances are kept after their jobs and exports ended.")
    history: Annotated[int, Between(1, 3650), Allowed("days, 1 to 3650")] = ours(
        30, "How long facts (associations, batches, jobs, exports) are kept."
    )
    watermark_percent: Annotated[int, Between(1, 100), Allowed("1 to 100")] = ours(
        95, "How full the disk may be before new associations are rejected (temporary congestion)."
    )
    reserve_space: Size = ours(1 << 30, "Free space that reception leaves. What pipelines write is not held to it.")


class Services(Section):
    """services"""

    platform_endpoint: Endpoint = spec(
        "localhost:50051",
        "Clara Platform API. CLARA_SERVICE_HOST and CLARA_SERVICE_PORT_API override it. Where it is named, pipelines"
        " that `pipelines` does not define are the platform's.",
    )
    results_service_endpoint: Url = spec(
        "http://localhost:50080",
        "Results Service. CLARA_RESULTSSERVICE_SERVICE_HOST and CLARA_RESULTSSERVICE_SERVICE_PORT override it. Polled"
        " where this or they say so; not where it is left to its default.",
    )
    parallel_uploads: Annotated[int, Between(1, 64), Allowed("1 to 64")] = ours(
        4, "Files that are uploaded to the Clara Platform at once, over all jobs."
    )
    results_poll_interval: Seconds = ours(0.5, "How long after an answer the Results Service is asked again.")

    @property
    def platform(self) -> str | None:
        """The endpoint of the Clara Platform, where one is named; the specified default alone is none."""
        return self.platform_endpoint if "platform_endpoint" in self.model_fields_set else None

    @property
    def results_service(self) -> str | None:
        """The endpoint of the Results Service, where one is named."""
        return self.results_service_endpoint if "results_service_endpoint" in self.model_fields_set else None


class PipelineEntry(Section):
    """An entry of pipelines: a pipeline that runs on this machine."""

    id: Name = ours(_REQUIRED, "What pipeline-mappings, or a Clara AE Title, names.")
    name: Name | None = ours(None, "Its name for people. Default: its id.")
    engine: Literal["process"] = ours("process", "What runs it.")
    command: Command = ours(_REQUIRED, "The program and its arguments; {input} and {output} become the job's folders.")
    environment: Mapping[EnvironmentName, Argument] = ours({}, "Environment variables for it.")
    timeout: Seconds | None = ours(3600.0, "After that its processes are ended and the job failed.")
    retries: Annotated[int, Between(0, 100), Allowed("0 to 100")] = ours(0, "Further tries of a failed job.")
    destinations: tuple[Name, ...] = ours((), "Names under dicom.scu.destinations that get every result.")
    cpu: Annotated[int, Between(1, 1024), Allowed("cores, 1 to 1024")] | None = ours(
        None, "Cores it may use. Default: all."
    )
    memory: Memory | None = ours(None, "Memory that all its processes together may use. Default: no limit.")
    concurrency: Annotated[int, Between(1, 1000), Allowed("1 to 1000")] = ours(1, "Jobs of this pipeline at once.")


class Results(Section):
    """results"""

    check: Literal["strict", "off"] = ours(
        "strict",
        "strict: a result that is not DICOM, reuses a source's SOP Instance UID or is of another patient or study goes"
        " to quarantine.",
    )


class Kubernetes(Section):
    """kubernetes: where Clara AE Titles, sources and destinations are, while read-*-from-crd is true."""

    enabled: Choice = ours(
        "auto",
        "Whether they are resources of a cluster, or of the adapter's own database. auto: of the cluster, in a pod with"
        " a service account, or where KUBECONFIG or `kubeconfig` names one.",
    )
    kubeconfig: Folder | None = ours(None, "File that says which cluster, and as whom. Default: the pod's own.")
    namespace: Namespace | None = ours(None, "Namespace of the resources. Default: that of the service account.")


class Api(Section):
    """api"""

    host: Host = ours(
        "127.0.0.1", "Address of the REST API. Beyond this machine only with a token, or with `anonymous`."
    )
    port: Annotated[int, Between(0, 65_535), Allowed("0 to 65535; 0 takes a free port")] = ours(5000, "Its TCP port.")
    host_names: tuple[Host, ...] = ours(
        (), "Names by which clients may call it, beside `host`, localhost and addresses; of a cluster's service, say."
    )
    token: Token | None = ours(None, "Bearer token that everything but /health asks for. Better in a file of its own.")
    token_file: Folder | None = ours(None, "File that holds the token, in place of `token`.")
    anonymous: Flag = ours(False, "true: no token, though others can reach the API: whoever does may act on studies.")


class Log(Section):
    """log"""

    level: Literal["debug", "info", "warning", "error"] = ours("info", "The least that is logged.")
    format: Literal["text", "json"] = ours("text", "Lines for people, or one JSON object each.")


class Settings(Section):
    """The whole file."""

    dicom: Dicom = spec(Dicom(), "DICOM services.")
    pipeline_mappings: tuple[PipelineMapping, ...] = spec((), "Which pipelines get what a Clara AE Title receives.")
    pipelines: tuple[PipelineEntry, ...] = ours((), "Pipelines that run on this machine.")
    results: Results = ours(Results(), "Checks of what pipelines return.")
    storage: Storage = spec(Storage(), "Where things are kept, and for how long.")
    services: Services = spec(Services(), "The Clara Platform.")
    kubernetes: Kubernetes = ours(Kubernetes(), "The cluster that keeps resources.")
    api: Api = ours(Api(), "REST API.")
    log: Log = ours(Log(), "Log.")

    def pipeline_id(self, reference: str) -> str:
        """The id that a mapping or AE Title means: the specification lets it name a pipeline by id or by name."""
        if any(pipeline.id == reference for pipeline in self.pipelines):
            return reference
        return next((pipeline.id for pipeline in self.pipelines if pipeline.name == reference), reference)

    def pipeline_ids(self, ae_title: str) -> tuple[str, ...]:
        """The pipelines that `pipeline-mappings` maps a Clara AE Title to, in the order of the file, each once."""
        references = (
            mapping.pipeline_id or mapping.name
            for mapping in self.pipeline_mappings
            if mapping.clara_ae_title == ae_title
        )
        return tuple(dict.fromkeys(self.pipeline_id(reference) for reference in references))

    def unrunnable_pipelines(self) -> tuple[str, ...]:
        """Mapped pipelines that nothing runs: `pipelines` does not define them, and no Clara Platform is named."""
        if self.services.platform is not None:
            return ()
        defined = {pipeline.id for pipeline in self.pipelines}
        mapped = (self.pipeline_id(mapping.pipeline_id or mapping.name) for mapping in self.pipeline_mappings)
        return tuple(dict.fromkeys(pipeline for pipeline in mapped if pipeline not in defined))
