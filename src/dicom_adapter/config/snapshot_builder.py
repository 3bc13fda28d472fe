"""Settings and resources -> the ConfigSnapshot that the data plane reads."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_adapter.config import processor_settings, resources
from dicom_adapter.config.resources import Kind, Resources
from dicom_adapter.config.schema import PipelineEntry, Settings
from dicom_adapter.config.store import ConfigStore
from dicom_adapter.core.snapshot import (
    ClaraAeTitle,
    ConfigSnapshot,
    Destination,
    Pipeline,
    ScpPolicy,
    Source,
    is_job_processor,
    platform_pipeline,
)


def reads_from_store(settings: Settings, kind: Kind) -> bool:
    """Whether resources of this kind come from the store (read-*-from-crd) rather than from the file's lists."""
    return {
        Kind.CLARA_AE_TITLE: settings.dicom.scp.read_aetitles_from_crd,
        Kind.SOURCE: settings.dicom.scp.read_sources_from_crd,
        Kind.DESTINATION: settings.dicom.scu.read_destinations_from_crd,
    }[kind]


async def read_resources(settings: Settings, lists: ConfigStore, store: ConfigStore) -> Resources:
    """The resources in force: of each kind from the file's lists, or from the store."""
    return Resources.of(
        [
            resource
            for kind in Kind
            for resource in await (store if reads_from_store(settings, kind) else lists).list(kind)
        ]
    )


def build_snapshot(settings: Settings, resources: Resources, version: int) -> ConfigSnapshot:
    """One instant of the configuration. `version` must be greater than that of the snapshot before."""
    return ConfigSnapshot(
        version=version,
        ae_titles={resource.spec.ae_title: _ae_title(settings, resource) for resource in resources.ae_titles},
        sources=tuple(Source(resource.spec.ae_title, resource.spec.host_ip) for resource in resources.sources),
        destinations={
            resource.spec.name.lower(): Destination(
                name=resource.spec.name,
                ae_title=resource.spec.ae_title,
                host=resource.spec.host_ip,
                port=resource.spec.port,
            )
            for resource in resources.destinations
        },
        pipelines=_pipelines(settings, resources),
        has_platform=settings.services.platform is not None,
        scp=_scp_policy(settings),
    )


def _ae_title(settings: Settings, resource: resources.ClaraAeTitle) -> ClaraAeTitle:
    spec = resource.spec
    named = (settings.pipeline_id(reference) for reference in spec.pipeline_ids)
    return ClaraAeTitle(
        name=resource.metadata.name,
        ae_title=spec.ae_title,
        timeout=float(_timeout(spec)),
        overwrite_same_instance=spec.overwrite_same_instance,
        ignored_sop_classes=frozenset(spec.ignored_sop_classes),
        processors=spec.all_processors,
        pipelines=tuple(dict.fromkeys((*named, *settings.pipeline_ids(spec.ae_title)))),
        settings=dict(spec.processor_settings),
        uid=resource.metadata.uid,
    )


def _timeout(spec: resources.ClaraAeTitleSpec) -> int:
    """The later generation says it in the settings of the processor that makes jobs."""
    makes_jobs = any(is_job_processor(name) for name in spec.all_processors)
    said = processor_settings.timeout(spec.processor_settings) if makes_jobs else None
    return spec.timeout if said is None else said


def _pipelines(settings: Settings, resources: Resources) -> dict[str, Pipeline]:
    """Those that run here and, where there is a Clara Platform, its own as they are named."""
    platform: dict[str, Pipeline] = {}
    for name, reference in _named_pipelines(settings, resources) if settings.services.platform else ():
        pipeline_id = settings.pipeline_id(reference)
        platform.setdefault(pipeline_id, platform_pipeline(pipeline_id, name))
    return platform | {entry.id: _pipeline(entry) for entry in settings.pipelines}


def _named_pipelines(settings: Settings, resources: Resources) -> Iterator[tuple[str, str]]:
    """Name and id of every pipeline that a mapping or an AE Title speaks of."""
    for mapping in settings.pipeline_mappings:
        yield mapping.name, mapping.pipeline_id or mapping.name
    for resource in resources.ae_titles:
        yield from processor_settings.pipelines(resource.spec.processor_settings).items()


def _pipeline(entry: PipelineEntry) -> Pipeline:
    return Pipeline(
        id=entry.id,
        name=entry.name or entry.id,
        engine=entry.engine,
        command=entry.command,
        environment=dict(entry.environment),
        timeout=entry.timeout,
        retries=entry.retries,
        destinations=entry.destinations,
        cpu=entry.cpu,
        memory=entry.memory,
        concurrency=entry.concurrency,
    )


def _scp_policy(settings: Settings) -> ScpPolicy:
    scp = settings.dicom.scp
    return ScpPolicy(
        max_associations=scp.max_associations,
        reject_unknown_sources=scp.reject_unknown_sources,
        check_source_host=scp.check_source_host,
        verification_enabled=scp.verification.enabled,
        verification_transfer_syntaxes=scp.verification.transfer_syntaxes,
        log_dimse_datasets=scp.log_dimse_datasets,
        log_phi=scp.log_phi,
    )
