"""Finds a processor by its name in `processors`: a plug-in's, `module:Class`, or the name that the specification gives.

Plug-ins are entry points of the group "dicom_adapter.processors": installing a package makes its processors known.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.ports import Processor
from dicom_adapter.core.snapshot import processor_name

GROUP = "dicom_adapter.processors"
_MODULE_AND_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)


def available() -> list[str]:
    """The names of the installed processors, sorted."""
    return sorted({each.name for each in entry_points(group=GROUP)})


@functools.cache  # a failure is not kept: it may be mended by an installation
def resolve(name: str) -> Processor:
    """The processor of this name, always the same object. Raises PermanentError, which says what there is."""
    name = processor_name(name)
    found = {each.value: each for each in entry_points(group=GROUP, name=name)}
    if len(found) > 1:
        raise PermanentError(f"processor {name!r}: several packages have one of this name: {', '.join(sorted(found))}")
    if found:
        return _made(name, _loaded(name, next(iter(found.values())).load))
    if _MODULE_AND_CLASS.fullmatch(name):
        return _made(name, _loaded(name, EntryPoint(name, name, GROUP).load))
    raise PermanentError(
        f"processor {name!r} is not installed. There are: {', '.join(available())}; "
        "or name a class of an importable module as module:Class"
    )


def why_missing(name: str) -> str | None:
    """Why there is no processor of this name, in words; None: there is one."""
    try:
        resolve(name)
    except PermanentError as error:
        return str(error)
    return None


def _loaded(name: str, load: Callable[[], object]) -> object:
    importlib.invalidate_caches()  # it may have been installed a moment ago
    try:
        return load()
    except Exception as error:  # a plug-in's module may fail in any way
        raise PermanentError(f"processor {name!r} cannot be loaded: {type(error).__name__}: {error}") from error


def _made(name: str, found: object) -> Processor:
    if not (inspect.isclass(found) and inspect.iscoroutinefunction(getattr(found, "process", None))):
        raise PermanentError(f"processor {name!r} is not a class with `async def process(self, batch, context)`")
    try:
        return cast(Processor, found())
    except Exception as error:
        raise PermanentError(f"processor {name!r} cannot be made: {type(error).__name__}: {error}") from error
