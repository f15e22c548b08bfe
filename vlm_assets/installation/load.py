"""Reads a catalogue directory into one frozen `Catalog`, or tells every fault at once."""

import os
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from vlm_assets.catalog.licences import doubt_of
from vlm_assets.catalog.rules import check_rules
from vlm_assets.catalog.spec import (
    BENCHMARK_CATEGORY,
    KEYS_OF_SUPPLY,
    NO_SOURCE,
    Catalog,
    CorpusSpec,
    SourceSpec,
)
from vlm_assets.catalog.yaml_places import located
from vlm_assets.sources.registry import kinds, source_of
from vlm_assets.words.errors import ConfigError, Problem
from vlm_assets.words.faults import problems_of
from vlm_assets.words.nearest import did_you_mean
from vlm_assets.words.yaml_text import read_yaml

SpecT = TypeVar("SpecT", bound=BaseModel)


def load_catalog(directory: Path) -> Catalog:
    """The catalogue of a directory with `corpus.yaml`, `sources/*.yaml`, perhaps `benchmarks/*.yaml`. No data.

    Raises:
        ConfigError: every fault in every file, in file order.
    """
    parsed = parse_catalog(directory)
    if parsed.problems or parsed.corpus is None:
        raise ConfigError(parsed.problems)
    return Catalog(
        corpus=parsed.corpus, sources=parsed.sources, benchmarks=parsed.benchmarks, hash=_content_hash(parsed)
    )


def catalog_problems(directory: Path) -> list[Problem]:
    """Everything that is wrong with a catalogue, files and folders that it names and that are missing included."""
    parsed = parse_catalog(directory)
    return parsed.problems + located(_missing_paths(parsed), directory)


@dataclass(frozen=True, slots=True)
class Parsed:
    """Specs, mended where they had faults so that the rules between them can be checked too, and all faults."""

    corpus: CorpusSpec | None
    sources: tuple[SourceSpec, ...]
    benchmarks: tuple[SourceSpec, ...]
    places: Mapping[str, str]
    """Of each source and benchmark, for messages: `file: key`."""
    problems: list[Problem]


def parse_catalog(directory: Path) -> Parsed:
    """What the files of a catalogue say, and everything that is wrong with it but for missing files."""
    corpus, problems = _load_corpus(directory)
    entries = _Entries(directory)
    sources, benchmarks = entries.sources(), entries.benchmarks()
    problems += entries.problems
    if corpus is not None:
        at_fault = {one.key.partition(".")[0] for one in problems if one.file == _CORPUS}
        told = {(one.file, one.key) for one in problems}
        broken = check_rules(
            corpus, sources, entries.places,
            outlines=entries.outlines, all_read=entries.all_read, quotas_read="quotas" not in at_fault,
        )  # fmt: skip
        # A key without its faulty parts may be empty, or gone: that is no second fault.
        problems += [one for one in broken if one.key not in at_fault and (one.file, one.key) not in told]
    return Parsed(corpus, sources, benchmarks, entries.places, located(problems, directory))


def check_any_source(directory: Path) -> None:
    """Returns where a source is enabled, or the catalogue has faults, which are told when it is opened.

    Raises:
        ConfigError: it is sound, and all corpora of it would be empty.
    """
    parsed = parse_catalog(directory)
    if not parsed.problems and not any(spec.enabled for spec in parsed.sources):
        raise ConfigError(Problem(f"{_SOURCES}/", "", NO_SOURCE))


def licence_hints(directory: Path) -> list[Problem]:
    """Licences of a catalogue that look like a slip; any text may be one, so it is no fault."""
    parsed = parse_catalog(directory)
    hints = []
    for spec in (*parsed.sources, *parsed.benchmarks):
        if told := doubt_of(spec.licence):
            file, _, place = parsed.places[spec.name].partition(": ")
            hints.append(Problem(file, f"{place}.licence", told))
    return located(hints, directory)


def _missing_paths(parsed: Parsed) -> list[Problem]:
    corpus = parsed.corpus
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
    for spec in (*parsed.sources, *parsed.benchmarks):
        file, _, place = parsed.places[spec.name].partition(": ")
        if spec.active:
            named += [(file, f"{place}.{key}", path) for key, path in _paths_of(spec)]
    told = ((file, key, unreadable(path)) for file, key, path in named)
    return [Problem(file, key, why) for file, key, why in told if why] + scores


def unreadable(path: Path) -> str:
    """Why a file or folder cannot be read by this user; "" where it can."""
    try:
        if not (path.is_dir() or S_ISREG(path.stat().st_mode)):
            return f"{path} is neither a file nor a folder"
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
    shown = _CORPUS
    if not (directory / shown).exists():
        told = f"missing in {directory}; vlm-assets init FOLDER --catalog NEW writes a first catalogue"
        return None, [Problem(shown, "", told)]
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


_CORPUS: Final = "corpus.yaml"
_SOURCES: Final = "sources"
_BENCHMARKS: Final = "benchmarks"


class _Entries:
    """Entries of the files under `sources` and `benchmarks`: one space of names, since both have folders by them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.places: dict[str, str] = {}
        self.problems: list[Problem] = []
        self.outlines: list[SourceSpec] = []
        """Of sources that are at fault as a whole: a quota that one of these fills is no second fault."""
        self.all_read = True
        """Whether all that stands in the files is a source, at least in outline."""

    def sources(self) -> tuple[SourceSpec, ...]:
        """What a corpus is made of, sorted by name."""
        files = sorted((self._directory / _SOURCES).glob("*.y*ml"))
        if not files:
            told = "no *.yaml here; vlm-assets add KIND WHERE writes one, with a list `sources:`"
            self.problems.append(Problem("sources/", "", told))
            self.all_read = False
        return self._load(files, (_SOURCES,))

    def benchmarks(self) -> tuple[SourceSpec, ...]:
        """What no corpus may hold, sorted by name. A file of sources may be moved here with its `sources:`."""
        files = sorted((self._directory / _BENCHMARKS).glob("*.y*ml"))
        return self._load(files, (_BENCHMARKS, _SOURCES))

    def _load(self, files: Sequence[Path], heads: Sequence[str]) -> tuple[SourceSpec, ...]:
        specs: list[SourceSpec] = []
        for path in files:
            shown = f"{heads[0]}/{path.name}"
            content, faults = read_yaml(path, shown)
            self.problems += faults
            for key, entry in [("", None)] if faults else _entries(content, shown, heads, self.problems):
                spec = None if entry is None else self._spec_of(entry, shown, key, heads[0])
                if spec is not None and self._is_new(spec.name, shown, key):
                    specs.append(_absolute(spec, self._directory))
                elif heads[0] == _SOURCES:
                    self._outline(entry or {})
        return tuple(sorted(specs, key=lambda s: s.name))

    def _spec_of(self, entry: Mapping[str, Any], shown: str, key: str, head: str) -> SourceSpec | None:
        given = self._as_benchmark(entry, shown, key) if head == _BENCHMARKS else entry
        return _load_source(given, shown, key, self.problems)

    def _outline(self, entry: Mapping[str, Any]) -> None:
        """Keeps what every source has of an entry that is at fault as a whole."""
        known = {name: value for name, value in entry.items() if name in SourceSpec.model_fields}
        spec, _ = _validate(SourceSpec, {**known, "kind": ""}, "", "")
        if spec is None:
            self.all_read = False
        else:
            self.outlines.append(spec)

    def _is_new(self, name: str, shown: str, key: str) -> bool:
        if name in self.places:
            self.problems.append(Problem(shown, f"{key}.name", f"{name!r} is taken by {self.places[name]}"))
            return False
        self.places[name] = f"{shown}: {key}"
        return True

    def _as_benchmark(self, entry: Mapping[str, Any], shown: str, key: str) -> Mapping[str, Any]:
        """The entry as a source has it, without what it cannot mean."""
        for name in KEYS_OF_SUPPLY:
            if name in entry:
                told = "a benchmark is in no corpus, so this means nothing; take it out"
                self.problems.append(Problem(shown, f"{key}.{name}", told))
        return as_benchmark({name: value for name, value in entry.items() if name not in KEYS_OF_SUPPLY})


def as_benchmark(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with what every source has, and a benchmark need not say."""
    given = dict(entry)
    if "subcategory_from" not in given:
        given.setdefault("subcategory", str(given.get("name", "")))
    return {"category": BENCHMARK_CATEGORY, "licence": "unknown", **given}


def _entries(
    content: Any, shown: str, heads: Sequence[str], problems: list[Problem]
) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    """Each entry with its key; None for one that is no entry, the fault told."""
    head = next((one for one in heads if isinstance(content, dict) and set(content) == {one}), None)
    if head is None or not isinstance(content[head], list):
        problems.append(Problem(shown, "", f"expected one key `{heads[0]}` with a list of {heads[0]}"))
        yield "", None
        return
    for number, entry in enumerate(content[head]):
        name = entry.get("name") if isinstance(entry, dict) else None
        key = f"{head}[{number}]" + (f" ({name})" if name else "")
        if isinstance(entry, dict):
            yield key, entry
        else:
            wanted = "name, kind, category, licence" if heads[0] == _SOURCES else "name, kind"
            problems.append(Problem(shown, key, f"expected a mapping with {wanted}"))
            yield key, None


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


def _content_hash(parsed: Parsed) -> str:
    content = [
        parsed.corpus.model_dump(mode="json") if parsed.corpus is not None else None,
        [one.model_dump(mode="json") for one in parsed.sources],
        *([[one.model_dump(mode="json") for one in parsed.benchmarks]] if parsed.benchmarks else []),
    ]
    return sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
