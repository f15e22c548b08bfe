"""The entry of a new source: its file under `sources`, and what is then left for a person."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from vlm_assets.catalog.base import NAME_PATTERN
from vlm_assets.catalog.spec import CorpusSpec
from vlm_assets.installation.load import as_benchmark, parse_catalog
from vlm_assets.operate.authoring.looks import Look, look_at
from vlm_assets.operate.authoring.places import Place, place_of
from vlm_assets.operate.authoring.quotas import FILL_IN, is_draft, missing_quotas, redrafted
from vlm_assets.operate.authoring.scalars import scalar
from vlm_assets.operate.authoring.start import CORPUS_FILE, EXAMPLE_FILE, entries_line, example_text, slug
from vlm_assets.settings import Settings
from vlm_assets.sources.registry import source_of
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.words.errors import ConfigError, OperationError, Problem, SourceError
from vlm_assets.words.faults import problems_of


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user says of a new source. `place`: a folder, file, `owner/name`, or an address of one."""

    kind: str
    place: str
    name: str | None = None
    category: str | None = None
    subcategory: str | None = None
    licence: str | None = None
    benchmark: bool = False
    """It is for no corpus."""


@dataclass(frozen=True, slots=True)
class Added:
    """A new entry. `look`: what the source showed; `quotas`: lines for `corpus.yaml` that are still missing.

    `shared`: quotas that nobody had edited were written anew, and take it in.
    """

    file: Path
    look: Look
    quotas: Sequence[str]
    shared: bool
    filled_in: Sequence[str] = ()
    """`key: value` of what nobody said."""


def add_source(catalog: Path, wish: Wish, settings: Settings) -> Added:
    """Looks at a source and writes its file under `sources` or `benchmarks`; takes the untouched example away.

    As long as nobody has edited the quotas of `corpus.yaml`, they become equal shares of all that is there now.

    Raises:
        ConfigError: the name is taken or no name; the catalogue's corpus.yaml does not load; the look found keys
            that do not fit.
        SourceError: nothing of the kind is there.
    """
    parsed = parse_catalog(catalog)
    corpus = parsed.corpus
    if corpus is None:
        raise ConfigError(parsed.problems)
    draft = is_draft((catalog / CORPUS_FILE).read_text("utf-8"), corpus)
    place = place_of(wish.kind, wish.place, catalog)
    name = wish.name or slug(Path(re.sub(r"/versions/\d+$", "", place.value)).stem, wish.kind)
    head = "benchmarks" if wish.benchmark else "sources"
    file = catalog / head / f"{name}.yaml"
    _check_name(name, file, {spec.name for spec in (*parsed.sources, *parsed.benchmarks)})
    _check_subcategory(wish.subcategory)
    look = _look(wish.kind, place, settings, name)
    wanted = _said(wish) if wish.benchmark else _wanted(wish, name, corpus, look, draft=draft)
    entry = {"name": name, "kind": wish.kind, **wanted, place.key: place.value, **place.more, **look.keys}
    _check_fits(as_benchmark(entry) if wish.benchmark else entry)
    file.parent.mkdir(exist_ok=True)
    replace_file(file, _text(entry, look, head).encode())
    if wish.benchmark:
        return Added(file, look, (), shared=False)
    example = catalog / EXAMPLE_FILE
    if example.is_file() and example.read_text("utf-8") == example_text():
        example.unlink()
    shared = draft and _share_anew(catalog)
    return Added(
        file, look, [] if shared else _missing_quotas(corpus, entry), shared, _filled_in(wish, entry)
    )


def _look(kind: str, place: Place, settings: Settings, name: str) -> Look:
    """What is at a place, keys as the entry has them; an error tells where a path here has that name, too."""
    try:
        look = look_at(kind, {place.key: place.where, **place.more}, settings, name)
    except OperationError as error:
        if not place.doubt:
            raise
        raise SourceError(f"{error}; {place.doubt}") from error
    if "path" in look.keys:  # an archive: its folder, and it alone
        return replace(look, keys={**look.keys, "path": str(Path(place.value).parent)})
    return look


def _missing_quotas(corpus: CorpusSpec, entry: Mapping[str, Any]) -> list[str]:
    rule = entry.get("subcategory_from")
    leaves = sorted(set(rule["map"].values())) if rule else [entry["subcategory"]]
    return missing_quotas(corpus, entry["category"], leaves)


def _filled_in(wish: Wish, entry: Mapping[str, Any]) -> list[str]:
    """What stands in an entry that nobody said, `key: value`."""
    said = {"category": wish.category, "subcategory": wish.subcategory, "licence": wish.licence}
    guessed = [key for key, value in said.items() if not value and entry.get(key, FILL_IN) != FILL_IN]
    by_label = ["subcategory by label"] if "subcategory_from" in entry else []
    return [*(f"{key}: {entry[key]}" for key in guessed), *by_label]


def _share_anew(catalog: Path) -> bool:
    """Writes equal shares of all sources into `corpus.yaml`; whether that could be."""
    file = catalog / CORPUS_FILE
    text = redrafted(file.read_text("utf-8"), parse_catalog(catalog).sources)
    if text is not None:
        replace_file(file, text.encode())
    return text is not None


def _check_subcategory(said: str | None) -> None:
    if said is not None and not all(map(str.strip, said.split("/"))):
        told = f"a name, or names with a slash between as street/night, got {said!r}"
        raise ConfigError(Problem("--subcategory", "", told))


def _check_fits(entry: Mapping[str, Any]) -> None:
    spec_type = source_of(entry["kind"]).spec_type
    try:
        spec_type.model_validate(entry)
    except ValidationError as error:
        raise ConfigError(problems_of(error, spec_type, entry, "add")) from None


def _check_name(name: str, file: Path, taken: Collection[str]) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError(Problem("--name", "", f"a name is [a-z0-9_]+, got {name!r}"))
    if file.exists():
        raise ConfigError(Problem(str(file), "", "is there already; give another --name"))
    if name in taken:
        raise ConfigError(Problem("--name", "", f"a source {name!r} is in the catalogue; give another"))


def _wanted(wish: Wish, name: str, corpus: CorpusSpec, look: Look, *, draft: bool) -> dict[str, Any]:
    """Category, subcategory and licence: as said, else the only ones there are, else to fill in.

    In a `draft` of quotas labels are subcategories of their own, and so is a source beside several others.
    """
    category = wish.category or _only(corpus.quotas) or FILL_IN
    leaves = [leaf for one, leaf in sorted(corpus.leaves()) if one == category]
    told: dict[str, Any] = {"category": category}
    if wish.subcategory is not None:
        told["subcategory"] = wish.subcategory
    elif look.labels and not (len(leaves) == 1 and leaves[0] == "all"):
        told["subcategory_from"] = {
            **look.selector,
            "map": {label: _leaf(label, [] if draft else leaves) for label in look.labels},
        }
    else:
        told["subcategory"] = _only(leaves or ["all"]) or (name if draft else FILL_IN)
    return {**told, "licence": wish.licence or "unknown"}


def _said(wish: Wish) -> dict[str, str]:
    """What was said of a benchmark, which needs none of it."""
    said = {"category": wish.category, "subcategory": wish.subcategory, "licence": wish.licence}
    return {key: value for key, value in said.items() if value is not None}


def _only(names: Any) -> str | None:
    return next(iter(names)) if len(names) == 1 else None


def _leaf(label: str, leaves: Sequence[str]) -> str:
    """The subcategory that is called like a label; one to fill in where the category has others only."""
    name = slug(label, FILL_IN)
    return next((leaf for leaf in leaves if leaf in (label, name)), FILL_IN if leaves else name)


_COMMENTS: Final = {
    "category": "a category of quotas in corpus.yaml",
    "subcategory": "a subcategory of it",
    "licence": "SPDX id, proprietary or unknown",
}


def _text(entry: Mapping[str, Any], look: Look, head: str) -> str:
    """The file: schema line, what was found, the entry."""
    lines = [
        entries_line(head),
        *(f"# {line}" for told in look.told for line in told.splitlines()),
        f"{head}:",
    ]
    for key, value in entry.items():
        lead = "  - " if key == "name" else "    "
        if key == "subcategory_from":
            lines += _rule_lines(value)
            continue
        if key == "subcategory" and look.labels:
            selector = ", ".join(f"{name}: {scalar(one)}" for name, one in look.selector.items())
            lines.append(
                f"    # or by label: subcategory_from: {{{selector}}}, of {', '.join(look.labels)[:80]}"
            )
        comment = f"  # {_COMMENTS[key]}" if key in _COMMENTS else ""
        lines.append(f"{lead}{key}: {scalar(value)}{comment}")
    lines += [f"    # {line}" for line in look.maybe]
    return "\n".join(lines) + "\n"


def _rule_lines(rule: Mapping[str, Any]) -> list[str]:
    selector = [f"      {key}: {scalar(value)}" for key, value in rule.items() if key != "map"]
    labels = [f"        {scalar(label)}: {scalar(leaf)}" for label, leaf in rule["map"].items()]
    return ["    subcategory_from:", *selector, "      map:  # label: subcategory; others stay out", *labels]
