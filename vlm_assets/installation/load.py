"""Reads a catalogue directory into one frozen `Catalog`, or tells every fault at once."""

import os
from collections.abc import Iterator, Mapping
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from vlm_assets.catalog.rules import check_rules
from vlm_assets.catalog.spec import Catalog, CorpusSpec, SourceSpec
from vlm_assets.catalog.yaml_places import located
from vlm_assets.catalog.yaml_text import read_yaml
from vlm_assets.sources.registry import kinds, source_of
from vlm_assets.words.errors import ConfigError, Problem
from vlm_assets.words.faults import problems_of
from vlm_assets.words.nearest import did_you_mean

SpecT = TypeVar("SpecT", bound=BaseModel)


def load_catalog(directory: Path) -> Catalog:
    """The catalogue of a directory with `corpus.yaml` and `sources/*.yaml`. Looks at no data.

    Raises:
        ConfigError: every fault in every file, in file order.
    """
    corpus, sources, _, problems = parse_catalog(directory)
    if problems or corpus is None:
        raise ConfigError(problems)
    return Catalog(corpus=corpus, sources=sources, hash=_content_hash(corpus, sources))


def catalog_problems(directory: Path) -> list[Problem]:
    """Everything that is wrong with a catalogue, files and folders that it names and that are missing included."""
    corpus, sources, places, problems = parse_catalog(directory)
    return problems + located(_missing_paths(corpus, sources, places), directory)


def parse_catalog(
    directory: Path,
) -> tuple[CorpusSpec | None, tuple[SourceSpec, ...], dict[str, str], list[Problem]]:
    """Specs, mended where they had faults so that the rules between them can be checked too, and all faults."""
    corpus, problems = _load_corpus(directory)
    sources, places, more = _load_sources(directory)
    problems += more
    if corpus is not None:
        problems += check_rules(corpus, sources, places)
    return corpus, sources, places, located(problems, directory)


def _missing_paths(
    corpus: CorpusSpec | None, sources: tuple[SourceSpec, ...], places: Mapping[str, str]
) -> list[Problem]:
    named: list[tuple[str, str, Path]] = [
        ("corpus.yaml", f"decontaminate[{i}]", path)
        for i, path in enumerate(corpus.decontaminate if corpus else ())
    ]
    scores = [
        Problem(
            "corpus.yaml", f"annotations[{i}].path", f"no file matches {one.path}; is the volume mounted?"
        )
        for i, one in enumerate(corpus.annotations if corpus else ())
        if one.imported and not one.files()
    ]
    for spec in sources:
        file, _, place = places[spec.name].partition(": ")
        if spec.active:
            named += [(file, f"{place}.{key}", path) for key, path in _paths_of(spec)]
    told = ((file, key, unreadable(path)) for file, key, path in named)
    return [Problem(file, key, why) for file, key, why in told if why] + scores


def unreadable(path: Path) -> str:
    """Why a file or folder cannot be read by this user; "" where it can."""
    try:
        path.stat()
        wanted = os.R_OK | os.X_OK if path.is_dir() else os.R_OK
        return "" if os.access(path, wanted) else f"{path} may not be read by this user"
    except PermissionError:
        return f"{path} may not be read by this user: a folder above it is closed"
    except OSError:  # also a name longer than any file system takes
        return f"{path} does not exist; is the volume mounted?"


def _paths_of(spec: BaseModel) -> Iterator[tuple[str, Path]]:
    for key in type(spec).model_fields:
        value = getattr(spec, key)
        if isinstance(value, Path):
            yield key, value


def _load_corpus(directory: Path) -> tuple[CorpusSpec | None, list[Problem]]:
    shown = "corpus.yaml"
    content, problems = read_yaml(directory / shown, shown)
    if problems:
        return None, problems
    if not isinstance(content, dict):
        return None, [Problem(shown, "", "expected a mapping with name, seed, targets, quotas")]
    spec, problems = _validate(CorpusSpec, content, shown, "")
    if spec is None:
        return None, problems
    annotations = tuple(one.below(directory) for one in spec.annotations)
    return _absolute(spec.model_copy(update={"annotations": annotations}), directory), problems


def _validate(
    model: type[SpecT], content: Mapping[str, Any], shown: str, key: str
) -> tuple[SpecT | None, list[Problem]]:
    """The spec and its faults; with faults, the spec without the keys at fault, if that is one."""
    try:
        return model.model_validate(content), []
    except ValidationError as error:
        problems = problems_of(error, model, content, shown, key)
        mended = deepcopy(dict(content))
        for fault in error.errors():
            _mend(mended, fault["loc"], missing=fault["type"] == "missing")
    try:
        return model.model_validate(mended), problems
    except ValidationError:
        return None, problems


def _mend(content: Any, location: tuple[int | str, ...], *, missing: bool) -> None:
    """Takes a faulty key out, or puts a placeholder for what must be there, so that the rest can be looked at."""
    *path, last = location or ("",)
    for step in path:
        content = content.get(step) if isinstance(content, dict) else None
    if not isinstance(content, dict):
        return
    if missing and last == "licence":
        content[last] = "unknown"
    elif last == "keep":
        content[last] = "true"
    else:
        content.pop(last, None)


def _load_sources(directory: Path) -> tuple[tuple[SourceSpec, ...], dict[str, str], list[Problem]]:
    """Sources sorted by name, the place of each for messages, and what is wrong."""
    specs: list[SourceSpec] = []
    places: dict[str, str] = {}
    problems: list[Problem] = []
    files = sorted((directory / "sources").glob("*.y*ml"))
    if not files:
        told = "no *.yaml here; vlm-assets add KIND WHERE writes one, with a list `sources:`"
        problems.append(Problem("sources/", "", told))
    for path in files:
        shown = f"sources/{path.name}"
        content, faults = read_yaml(path, shown)
        problems += faults
        if faults:
            continue
        for key, entry in _entries(content, shown, problems):
            spec = _load_source(entry, shown, key, problems)
            if spec is None:
                continue
            if spec.name in places:
                problems.append(
                    Problem(shown, f"{key}.name", f"{spec.name!r} is taken by {places[spec.name]}")
                )
                continue
            places[spec.name] = f"{shown}: {key}"
            specs.append(_absolute(spec, directory))
    return tuple(sorted(specs, key=lambda s: s.name)), places, problems


def _entries(content: Any, shown: str, problems: list[Problem]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if (
        not isinstance(content, dict)
        or set(content) != {"sources"}
        or not isinstance(content["sources"], list)
    ):
        problems.append(Problem(shown, "", "expected one key `sources` with a list of sources"))
        return
    for number, entry in enumerate(content["sources"]):
        name = entry.get("name") if isinstance(entry, dict) else None
        key = f"sources[{number}]" + (f" ({name})" if name else "")
        if isinstance(entry, dict):
            yield key, entry
        else:
            problems.append(Problem(shown, key, "expected a mapping with name, kind, category, licence"))


def _load_source(
    entry: Mapping[str, Any], shown: str, key: str, problems: list[Problem]
) -> SourceSpec | None:
    kind = entry.get("kind")
    if kind not in kinds():
        told = f"no kind {kind!r}; {did_you_mean(kind, kinds())}" if kind is not None else "missing"
        problems.append(Problem(shown, f"{key}.kind", told))
        return None
    spec, faults = _validate(source_of(str(kind)).spec_type, entry, shown, key)
    problems += faults
    return spec


def _absolute(spec: SpecT, directory: Path) -> SpecT:
    """The spec with relative paths taken from the catalogue directory."""
    changed: dict[str, Any] = {}
    for key in type(spec).model_fields:
        value = getattr(spec, key)
        if isinstance(value, Path):
            changed[key] = directory / _at_home(value)
        elif isinstance(value, tuple) and value and all(isinstance(v, Path) for v in value):
            changed[key] = tuple(directory / _at_home(v) for v in value)
    return spec.model_copy(update=changed) if changed else spec


def _at_home(path: Path) -> Path:
    """The path with `~` written out; as it is where nobody has that name."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def _content_hash(corpus: CorpusSpec, sources: tuple[SourceSpec, ...]) -> str:
    content = [corpus.model_dump(mode="json"), [s.model_dump(mode="json") for s in sources]]
    return sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
