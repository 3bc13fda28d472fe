"""The API server that KUBECONFIG names, made ready for tests: the definitions of deploy/crds, an empty namespace."""

from __future__ import annotations

import uuid
from pathlib import Path

from lightkube import AsyncClient, KubeConfig
from lightkube.codecs import load_all_yaml
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.core_v1 import Namespace

CRDS = Path(__file__).parents[1] / "deploy" / "crds"


async def prepare(kubeconfig: Path) -> str:
    """The namespace. It is left behind: who starts an API server for tests throws it away."""
    client = AsyncClient(KubeConfig.from_file(kubeconfig), field_manager="dicom-adapter-tests")
    try:
        for path in sorted(CRDS.iterdir()):
            for definition in load_all_yaml(path.read_text()):
                assert isinstance(definition, CustomResourceDefinition)
                assert definition.metadata is not None
                assert definition.metadata.name is not None
                await client.apply(definition, force=True)
                await client.wait(
                    CustomResourceDefinition,
                    definition.metadata.name,
                    for_conditions=["Established"],
                    raise_for_conditions=["NonStructuralSchema"],
                )
        name = f"test-{uuid.uuid4()}"
        await client.create(Namespace(metadata=ObjectMeta(name=name)))
        return name
    finally:
        await client.close()
