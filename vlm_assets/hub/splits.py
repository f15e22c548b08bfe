"""Which files of a repository are which config and split, and in which format: resolved from the file list alone.

`datasets`' own rules (patterns, README `configs:`, ignored files) run over a file system that holds nothing but the
tree: no request, exact agreement with `load_dataset`.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Final

import yaml
from fsspec import (  # type: ignore[import-untyped]  # ships no types
    AbstractFileSystem,
    register_implementation,
)
from fsspec.core import has_magic  # type: ignore[import-untyped]

from vlm_assets.archives.names import packed_image_name
from vlm_assets.archives.split import find_split_archives
from vlm_assets.captions.trees import METADATA_NAMES
from vlm_assets.hub.globs import glob_matcher
from vlm_assets.words.errors import SourceError
from vlm_assets.words.suffixes import IMAGE_SUFFIXES
from vlm_assets.words.yaml_text import check_shape

_PROTOCOL: Final = "vlmtree"
_ROOT: Final = "repo"

_FORMATS: Final = {
    ".parquet": "parquet", ".pq": "parquet", ".parq": "parquet", ".pqt": "parquet", ".arrow": "arrow",
    ".feather": "arrow", ".ipc": "arrow", ".tar": "webdataset", ".tgz": "webdataset",
    ".tbz2": "webdataset", ".tbz": "webdataset", ".txz": "webdataset", ".tzst": "webdataset",
    ".tlz4": "webdataset", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".tsv": "csv",
    ".zip": "archive", ".cbz": "archive", ".cbt": "archive", ".7z": "archive", ".cb7": "archive",
    **dict.fromkeys(IMAGE_SUFFIXES, "imagefolder"),
}  # fmt: skip
_TOLD_CHARS: Final = 300
_MAX_LABELS: Final = 1_000_000
_PACKED: Final = frozenset({".gz", ".bz2", ".xz", ".zst", ".lz4"})
_TABLES: Final = frozenset({"parquet", "json", "csv"})
_STATS: Final = "_stats.json"
_PREFERENCE: Final = ("parquet", "arrow", "json", "csv", "webdataset", "imagefolder", "archive")


@dataclass(frozen=True, slots=True)
class DataSplit:
    """One config × split: its data files in order, their format, the features that the README declares."""

    config: str
    split: str
    format: str
    files: tuple[str, ...]
    metadata_files: tuple[str, ...] = ()
    """Tables of captions that the split's patterns match, of images and archives of images."""
    metadata_above: tuple[str, ...] = ()
    """Those in folders above its files that they do not match; `load_dataset` reads none of them."""
    metadata_selects: bool = False
    """The README names the config's tables: what they do not name is none of its images."""
    metadata_names: tuple[str, ...] = ()
    """File names of the config's tables."""
    ignored: int = 0
    """Files of other formats that the patterns matched; `load_dataset` leaves them out too."""
    features: Mapping[str, Any] | None = None
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of those of its files that are split archives: the files that make one up, in order."""
    incomplete: Mapping[str, str] = field(default_factory=dict)
    """Parts of archives of which others are missing, with what is."""


def find_splits(
    paths: Iterable[str],
    card: str,
    where: str,
    *,
    configs: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    formats: Callable[[str], str | None] | None = None,
) -> list[DataSplit]:
    """Every wanted config × split, sorted. `card` is the README's text; None for `configs`/`splits` means all.

    `formats`: the reader of a file, None where there is none; unset: by its name.

    Raises:
        SourceError: no data files, a config or split that does not exist (the message lists those that do), or
            data files outside the repository.
    """
    tree = _Tree(paths)
    declared, features = _declared(card, where)
    unknown = sorted(set(configs or ()) - set(declared))
    if unknown:
        raise SourceError(
            f"{where}: no config {', '.join(unknown)}; there are: {', '.join(sorted(declared))}"
        )
    tables = {config: _metadata_names(params, where) for config, params in declared.items()}
    any_tables = frozenset(METADATA_NAMES).union(*tables.values())
    found: list[DataSplit] = []
    for config in sorted(configs or declared):
        for split, files in _files_by_split(tree, declared[config], f"{where}, config {config}").items():
            if splits is None or split in splits:
                one = _classified(
                    config, split, files, features.get(config), where, any_tables, formats or format_of
                )
                found.append(_with_metadata(one, files, tables[config], tree))
    missing = sorted(set(splits or ()) - {one.split for one in found})
    if missing:
        known = {s for c in declared for s in _files_by_split(tree, declared[c], where)}
        raise SourceError(f"{where}: no split {', '.join(missing)}; there are: {', '.join(sorted(known))}")
    return sorted(found, key=lambda one: (one.config, one.split))


def _metadata_names(params: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Names of the config's tables as the README declares them; none where it does not.

    Raises:
        SourceError: they are not names.
    """
    names = params.get("metadata_filenames") or ()
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise SourceError(
            f"{where}: `metadata_filenames` in the README is {names!r}, expected a list of names"
        )
    return tuple(names)


def _with_metadata(
    split: DataSplit, matched: Sequence[str], declared: Sequence[str], tree: "_Tree"
) -> DataSplit:
    """The split with its tables of captions: those that it matches, and those that stand above its files."""
    if split.format not in ("imagefolder", "archive", "webdataset"):
        return split
    names = set(declared or METADATA_NAMES)
    own = {path for path in matched if PurePosixPath(path).name in names}
    folders = {str(folder) for path in split.files for folder in PurePosixPath(path).parents}
    above = {name if folder == "." else f"{folder}/{name}" for folder in folders for name in names}
    return replace(
        split,
        metadata_files=tuple(sorted(own)),
        metadata_above=tuple(sorted(path for path in above - own if f"{_ROOT}/{path}" in tree.entries)),
        metadata_selects=bool(declared),
        metadata_names=tuple(sorted(names)),
        ignored=split.ignored - len(own),
    )


def format_of(path: str) -> str | None:
    """Reader of a data file by its name, compression suffixes aside; None where there is none.

    `a.jpg.gz` is an archive of one image, as folders read it.
    """
    if packed_image_name(path):
        return "archive"
    suffixes = [suffix.lower() for suffix in PurePosixPath(path).suffixes]
    while suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return _FORMATS.get(suffixes[-1]) if suffixes else None


def _declared(card: str, where: str) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Configs by name with their parameters, and features by config, from the README's YAML."""
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData

    try:
        data = DatasetCardData(**_front_matter(card), ignore_metadata_errors=True)
        declared = {
            str(name): dict(params) for name, params in MetadataConfigs.from_dataset_card_data(data).items()
        }
        infos = {str(name): info for name, info in DatasetInfosDict.from_dataset_card_data(data).items()}
    except (
        ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, yaml.YAMLError
    ) as error:  # fmt: skip
        told = " ".join(str(error).split())[:_TOLD_CHARS]
        raise SourceError(f"{where}: the README's `configs` cannot be read: {told}") from error
    features = {name: info.features.to_dict() for name, info in infos.items() if info.features}
    if not declared:
        # `datasets` names the only config after the only dataset_info.
        declared = {next(iter(infos)) if len(infos) == 1 else "default": {}}
    return declared, features


def _front_matter(card: str) -> Mapping[str, Any]:
    """What a README says in YAML at its head, as `DatasetCard` reads it, but bounded, and by libyaml where it is.

    Raises:
        yaml.YAMLError: it is none, or nested or numbered without end.
        ValueError: it is no mapping.
    """
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    found = REGEX_YAML_BLOCK.search(
        card.removeprefix("\ufeff")
    )  # behind which nobody sees that metadata begins
    block = found.group(2) if found else ""
    check_shape(block)
    content = yaml.load(block, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}  # noqa: S506 - both are safe
    if not isinstance(content, dict):
        raise ValueError("its metadata is no mapping")
    _check_labels(content)
    return content


def _check_labels(content: Mapping[str, Any]) -> None:
    """Returns where `datasets` makes of labels no more names than are written there, and looks for none elsewhere.

    Raises:
        ValueError: a number of labels, or the id of one, that it would count up to; a file with their names.
    """
    left = [content.get("dataset_info"), content.get("configs")]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += one
        if not isinstance(one, dict):
            continue
        left += one.values()
        if one.get("names_file") is not None:
            raise ValueError("`names_file` names a file of the machine that reads it; not followed")
        names, count = one.get("names"), one.get("num_classes")
        if isinstance(names, dict) and any(int(label) >= len(names) for label in names):
            raise ValueError("`names` of a class_label have an id beyond their number")
        if isinstance(count, int) and count > _MAX_LABELS:
            raise ValueError(f"`num_classes` is {count}, at most {_MAX_LABELS:,} are taken")


def _files_by_split(tree: "_Tree", params: Mapping[str, Any], where: str) -> dict[str, list[str]]:
    from datasets.data_files import EmptyDatasetError, sanitize_patterns

    folder = str(params.get("data_dir") or "").strip("/")
    base = f"{_PROTOCOL}://{_ROOT}" + (f"/{folder}" if folder else "")
    try:
        declared = params.get("data_files")
        patterns = sanitize_patterns(declared) if declared is not None else _default_patterns(tree, base)
        found: dict[str, list[str]] = {}
        for split, globs in patterns.items():
            seen: dict[str, None] = {}
            for glob in globs:
                _check_pattern(glob, where)
                for path in _matches(glob, base, tree):
                    seen[path] = None
            found[str(split)] = list(seen)
    except (FileNotFoundError, EmptyDatasetError) as error:
        raise SourceError(f"{where}: no data files found ({_plain(error)})") from error
    except ValueError as error:
        raise SourceError(f"{where}: data files cannot be resolved: {error}") from error
    empty = sorted(split for split, files in found.items() if not files)
    if empty:
        raise SourceError(f"{where}: no data file matches the patterns of split {', '.join(empty)}")
    return found


def _check_pattern(glob: object, where: str) -> None:
    if not isinstance(glob, str):
        raise SourceError(f"{where}: data files cannot be resolved: {glob!r} is no pattern")
    if "://" in glob or glob.startswith("/"):
        raise SourceError(f"{where}: data file {glob!r} lies outside the repository; not followed")


def _default_patterns(tree: "_Tree", base: str) -> dict[str, list[str]]:
    """What `datasets` tries in turn, on one file for many whose names differ in digits only.

    Its patterns treat all digits alike, and it tries about fifty of them: 20 s over 100,000 files as they are.
    Only the sharded pattern takes the split's name from the file's, so its result is taken from the full tree.
    """
    from datasets.data_files import get_data_patterns

    alike = {re.sub("[0-9]", "0", name) for name, entry in tree.entries.items() if entry["type"] == "file"}
    small = _Tree(name.removeprefix(f"{_ROOT}/") for name in alike)
    patterns: dict[str, list[str]] = get_data_patterns(re.sub("[0-9]", "0", base), small.options())
    sharded = any("-of-" in glob for globs in patterns.values() for glob in globs)
    return get_data_patterns(base, tree.options()) if sharded else patterns


def _matches(glob: str, base: str, tree: "_Tree") -> list[str]:
    """Paths that a pattern matches; a pattern with wildcards may match none, a plain path must exist."""
    from datasets.data_files import contains_wildcards, resolve_pattern

    try:
        found = resolve_pattern(glob, base, download_config=tree.options())
    except FileNotFoundError:
        if contains_wildcards(glob):
            return []
        raise
    return [path.removeprefix(f"{_PROTOCOL}://{_ROOT}/") for path in found]


def _classified(
    config: str,
    split: str,
    files: Sequence[str],
    features: Mapping[str, Any] | None,
    where: str,
    tables: Collection[str],
    formats: Callable[[str], str | None],
) -> DataSplit:
    """The split in the format of most of its files, as `datasets` decides it; parquet wins a draw.

    But `tables`, and files that speak of others.
    """
    metadata = [path for path in files if PurePosixPath(path).name in tables]
    archives = find_split_archives(set(files).difference(metadata))
    parts = {one.name: one.parts for one in archives if not one.missing}
    in_parts = {path for one in archives for path in one.parts}
    whole = [path for path in files if path not in in_parts and path not in set(metadata)]
    kinds = {path: formats(path) for path in (*whole, *parts)}
    beside = _beside(kinds)
    counts = Counter(kind for path, kind in kinds.items() if kind and path not in beside)
    if not counts:
        suffixes = sorted({PurePosixPath(path).suffix for path in kinds}) or ["none"]
        raise SourceError(
            f"{where}, config {config}, split {split}: no data file in a format that is read "
            f"({', '.join(sorted(set(_FORMATS.values())))}); suffixes found: {', '.join(suffixes)}"
        )
    chosen = max(counts, key=lambda kind: (counts[kind], -_PREFERENCE.index(kind)))
    kept = tuple(sorted(path for path, kind in kinds.items() if kind == chosen and path not in beside))
    taken = sum(len(parts.get(path, (path,))) for path in kept)
    incomplete = {part: one.missing for one in archives if one.missing for part in one.parts}
    return DataSplit(
        config, split, chosen, kept, ignored=len(files) - taken, features=features,
        parts={path: parts[path] for path in kept if path in parts}, incomplete=incomplete,
    )  # fmt: skip


def _beside(kinds: Mapping[str, str | None]) -> set[str]:
    """An image's own JSON, and what img2dataset writes beside each tar: its rows, and figures in `_stats.json`."""
    stem_of = {path: path.removesuffix(PurePosixPath(path).suffix) for path in kinds}
    images = {stem_of[path] for path, kind in kinds.items() if kind == "imagefolder"}
    tars = {stem_of[path] for path, kind in kinds.items() if kind == "webdataset"}
    told = tars.intersection(path.removesuffix(_STATS) for path in kinds if path.endswith(_STATS))
    return {
        path
        for path, kind in kinds.items()
        if (kind == "json" and stem_of[path] in images)
        or (kind in _TABLES and stem_of[path].removesuffix("_stats") in told)
    }


def _plain(error: Exception) -> str:
    return str(error).replace(f"{_PROTOCOL}://{_ROOT}/", "")[:200]


class _Tree:
    """A list of paths as fsspec entries, folders included."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.entries: dict[str, dict[str, Any]] = {_ROOT: {"name": _ROOT, "type": "directory", "size": 0}}
        for path in sorted(paths):
            full = f"{_ROOT}/{path}"
            for parent in PurePosixPath(full).parents:
                name = str(parent)
                if name == "." or name in self.entries:
                    break
                self.entries[name] = {"name": name, "type": "directory", "size": 0}
            self.entries[full] = {"name": full, "type": "file", "size": 0}

    def options(self) -> Any:
        """How `datasets` is told to look here."""
        from datasets.download import DownloadConfig

        register_implementation(_PROTOCOL, _TreeFileSystem, clobber=True)
        return DownloadConfig(storage_options={_PROTOCOL: {"tree": self}})


class _TreeFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec is untyped
    """Enough of a file system for globbing."""

    protocol = _PROTOCOL
    cachable = False

    def __init__(self, tree: _Tree, **options: Any) -> None:
        super().__init__(**options)
        self._tree = tree

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """One entry."""
        name = self._strip_protocol(path).rstrip("/")
        if name not in self._tree.entries:
            raise FileNotFoundError(path)
        return self._tree.entries[name]

    def glob(self, path: str, maxdepth: int | None = None, **options: Any) -> Any:
        """Files that a pattern matches, in time that grows with its length: fsspec's own expression may never end."""
        pattern = self._strip_protocol(path)
        if not has_magic(pattern):
            return super().glob(path, maxdepth, **options)
        matches = glob_matcher(pattern)
        found = {
            name: entry
            for name, entry in sorted(self._tree.entries.items())
            if entry["type"] == "file" and matches(name)
        }
        return found if options.get("detail") else list(found)

    def find(self, path: str, **options: Any) -> Any:
        """Everything below a folder. `maxdepth` may be ignored: the glob's own pattern filters."""
        root = self._strip_protocol(path).rstrip("/")
        below = {
            name: entry
            for name, entry in self._tree.entries.items()
            if name.startswith(root + "/") and (options.get("withdirs") or entry["type"] == "file")
        }
        return below if options.get("detail") else list(below)

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:  # noqa: FBT001, FBT002  # fsspec's signature
        """Direct children of a folder."""
        root = self._strip_protocol(path).rstrip("/")
        children = [e for n, e in self._tree.entries.items() if n.rpartition("/")[0] == root]
        return children if detail else [entry["name"] for entry in children]
