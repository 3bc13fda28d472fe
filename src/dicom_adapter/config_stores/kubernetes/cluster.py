"""Which cluster, in which namespace, and as whom: the service account of the pod, or a kubeconfig."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dicom_adapter.config.schema import Kubernetes
from dicom_adapter.core.errors import PermanentError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # where Kubernetes mounts it
_HOME = Path("~/.kube/config")


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a cluster. `kubeconfig`: None is the service account. `namespace`: None is that of the access."""

    kubeconfig: Path | None
    namespace: str | None
    service_account: Path = SERVICE_ACCOUNT

    def __str__(self) -> str:
        return "the service account of this pod" if self.kubeconfig is None else f"the kubeconfig {self.kubeconfig}"


def find(settings: Kubernetes, environ: Mapping[str, str], *, service_account: Path = SERVICE_ACCOUNT) -> Access | None:
    """The cluster whose resources are used, or None: those of the adapter's own database are.

    Raises PermanentError where the settings demand a cluster and there is none.
    """
    if settings.enabled == "false":
        return None
    kubeconfig = settings.kubeconfig or _named(environ.get("KUBECONFIG", ""))
    in_cluster = "KUBERNETES_SERVICE_HOST" in environ and (service_account / "token").exists()
    if in_cluster and settings.kubeconfig is None:
        return Access(None, settings.namespace, service_account)
    if kubeconfig is None and settings.enabled == "true" and _HOME.expanduser().is_file():
        kubeconfig = _HOME.expanduser()
    if kubeconfig is not None:
        return Access(kubeconfig, settings.namespace, service_account)
    if settings.enabled == "true":
        raise PermanentError(
            "`kubernetes.enabled: true`, and there is no cluster: neither a service account at "
            f"{service_account}, nor `kubernetes.kubeconfig`, KUBECONFIG or {_HOME}. Name one, or say `enabled: false`"
        )
    return None


def _named(variable: str) -> Path | None:
    """The file that KUBECONFIG names; of several the first that is there."""
    paths = [Path(part).expanduser() for part in variable.split(":") if part]
    return next((path for path in paths if path.is_file()), paths[0] if paths else None)
