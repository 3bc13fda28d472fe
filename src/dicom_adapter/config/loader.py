"""A configuration file -> Settings, or every problem it has at once.

Reads the file and nothing else: no folder is made, no port opened, no name resolved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dicom_adapter.config import reference, rules
from dicom_adapter.config.document import Document, dotted, parse
from dicom_adapter.config.document import Path as KeyPath
from dicom_adapter.config.environment import overrides
from dicom_adapter.config.problems import ConfigError, Problem, quote
from dicom_adapter.config.rules import Finding, Severity
from dicom_adapter.config.schema import Section, Settings

_REACHED_BY = ("", "storage", "api")  # sections that tell how an adapter is reached; "": the whole file

# switch -> the list that it turns off
_SWITCHES: dict[KeyPath, KeyPath] = {
    ("dicom", "scp", "read-aetitles-from-crd"): ("dicom", "scp", "ae-titles"),
    ("dicom", "scp", "read-sources-from-crd"): ("dicom", "scp", "sources"),
    ("dicom", "scu", "read-destinations-from-crd"): ("dicom", "scu", "destinations"),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration without errors."""

    settings: Settings
    source: str  # the file, as it was named
    document: Document
    warnings: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()
    unrunnable: tuple[Problem, ...] = ()  # mapped pipelines that nothing runs: a start refuses them

    def require_runnable(self) -> Settings:
        """The settings, if everything they name can run here. Raises ConfigError with `unrunnable` otherwise."""
        if self.unrunnable:
            raise ConfigError(self.unrunnable, self.source)
        return self.settings

    def locate(self, findings: Iterable[Finding]) -> list[Problem]:
        """What was found in the settings, with its place in the file."""
        return [_located(self.document, finding) for finding in findings]


def load(path: Path, environ: Mapping[str, str]) -> Loaded:
    """Read a configuration file; variables of `environ` override it (`environment`). Raises ConfigError."""
    source = str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError([Problem("the file is not UTF-8 text")], source) from None
    except OSError as error:
        raise ConfigError([Problem(f"cannot read the file: {error.strerror or error}")], source) from None
    return load_text(text, environ, source=source, base=path.absolute().parent)


def load_text(text: str, environ: Mapping[str, str], *, source: str = "", base: Path | None = None) -> Loaded:
    """As `load`, for text. Relative folders start at `base` (default: left as they are). Raises ConfigError."""
    document = parse(text)
    overridden, environment_problems, environment_warnings = overrides(environ)
    problems = [*document.problems, *environment_problems]
    if document.problems and not document.tree:
        raise ConfigError(problems, source)
    for (section, key), value in overridden.items():
        written = document.tree.get(section)
        if written is None or isinstance(written, dict):  # else the schema says what is wrong with it
            document.tree[section] = {**(written or {}), key: value}

    settings, errors = _validate(document.tree)
    problems += [_schema_problem(document, error) for error in errors]
    broken = [_path(error) for error in errors if not _is_unknown_key(error)]
    findings = rules.check(settings, broken)
    problems += [_located(document, finding) for finding in findings if finding.severity is Severity.ERROR]
    settings = _anchored(settings, base)
    if problems:
        in_the_way = any(problem.path.partition(".")[0] in _REACHED_BY for problem in problems)
        raise ConfigError(problems, source, reachable=None if in_the_way else settings)
    return Loaded(
        settings=settings,
        source=source,
        document=document,
        warnings=(
            *environment_warnings,
            *_switch_problems(document, settings, unused=True),
            *(_located(document, finding) for finding in findings),
        ),
        notes=tuple(_switch_problems(document, settings, unused=False)),
        unrunnable=tuple(_located(document, finding) for finding in rules.unrunnable_pipelines(settings)),
    )


def _validate(tree: Mapping[str, Any]) -> tuple[Settings, list[Any]]:
    """The settings and the schema's errors; with errors, the settings are those of the rest of the file."""
    try:
        return Settings.model_validate(tree), []
    except ValidationError as invalid:
        errors: list[Any] = list(invalid.errors(include_url=False, include_input=False))
    rest = _copy(tree)
    for error in errors:
        if _is_unknown_key(error):
            _remove(rest, _path(error))
    for error in errors:
        if not _is_unknown_key(error):
            _cut(rest, _path(error))
    return Settings.model_validate(rest), errors


def _anchored(settings: Settings, base: Path | None) -> Settings:
    """Relative folders start at the file, written there or a default: every command finds the same from anywhere."""
    if base is None:
        return settings
    storage = settings.storage.model_copy(update={"temporary": base / settings.storage.temporary})
    update: dict[str, Section] = {"storage": storage}
    if settings.api.token_file is not None:
        update["api"] = settings.api.model_copy(update={"token_file": base / settings.api.token_file})
    if settings.kubernetes.kubeconfig is not None:
        kubeconfig = base / settings.kubernetes.kubeconfig
        update["kubernetes"] = settings.kubernetes.model_copy(update={"kubeconfig": kubeconfig})
    return settings.model_copy(update=update)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _is_unknown_key(error: Mapping[str, Any]) -> bool:
    return bool(error["type"] == "extra_forbidden")


def _remove(tree: Any, path: KeyPath) -> None:
    """Remove an unknown key: what stands beside it means what it did."""
    for part in path[:-1]:
        tree = tree[part]
    del tree[path[-1]]


def _cut(tree: Any, path: KeyPath) -> None:
    """Remove a broken value; of a list, the whole list: every section's keys have defaults, those of entries do not."""
    for place, part in enumerate(path):
        last = place == len(path) - 1 or isinstance(path[place + 1], int)
        if not isinstance(tree, dict) or part not in tree:
            return
        if last or not isinstance(tree[part], dict):
            del tree[part]
            return
        tree = tree[part]


def _path(error: Mapping[str, Any]) -> KeyPath:
    return tuple(part for part in error["loc"] if part != "[key]")


def _schema_problem(document: Document, error: Mapping[str, Any]) -> Problem:
    path = _path(error)
    place = dotted(path)
    position = document.position(path)
    if _is_unknown_key(error):
        near = reference.nearest_key(path[:-1], str(path[-1]))
        return Problem(
            "unknown key",
            path=place,
            position=position,
            hint=f"did you mean `{near}`?" if near else None,
            allowed=", ".join(reference.known_keys(path[:-1])),
        )
    if error["type"] == "missing":
        return Problem("required key is missing", path=place, position=position, allowed=reference.allowed(path))
    if error["loc"][-1] == "[key]":
        allowed: str | None = "a name of letters, digits and underscores"
        return Problem("wrong name", path=place, position=position, found=quote(path[-1]), allowed=allowed)
    found = "a value that is not shown" if reference.is_secret(path) else quote(_value(document.tree, path))
    return Problem("wrong value", path=place, position=position, found=found, allowed=reference.allowed(path))


def _value(tree: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _located(document: Document, finding: Finding) -> Problem:
    return Problem(
        finding.message,
        path=dotted(finding.path),
        position=document.position(finding.path),
        found=finding.found,
        allowed=finding.allowed,
        hint=finding.hint,
    )


def _switch_problems(document: Document, settings: Settings, *, unused: bool) -> Iterator[Problem]:
    """Lists that a switch turns off (warnings), or lists that are used because no switch stands beside them (notes)."""
    for switch, listed in _SWITCHES.items():
        if not _value(document.tree, listed):
            continue
        position = document.position(listed)
        written = document.positions.get(switch)
        service = settings.dicom.scp if switch[1] == "scp" else settings.dicom.scu
        from_store = bool(getattr(service, str(switch[2]).replace("-", "_")))
        if unused and from_store and written is not None:
            yield Problem(
                f"this list is not used: {dotted(switch)} is true (line {written.line})",
                path=dotted(listed),
                position=position,
                hint=f"set {switch[2]}: false to use the list",
            )
        elif not unused and not from_store and written is None:
            yield Problem(
                f"this list is used: {dotted(switch)} is not in the file",
                path=dotted(listed),
                position=position,
                hint=f"write {switch[2]}: false to say so, or true to use the store of resources",
            )
