"""Rules between the parts of a catalogue: quotas against sources, weights, names that must exist."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from fractions import Fraction

from vlm_assets.catalog.base import OnlySpec
from vlm_assets.catalog.expressions import IMAGE_FACTS
from vlm_assets.catalog.filters import annotations_read, built_in_columns, filter_faults
from vlm_assets.catalog.spec import CorpusSpec, QuotaNode, SourceSpec
from vlm_assets.words.errors import Problem
from vlm_assets.words.nearest import did_you_mean, nearest

_CORPUS = "corpus.yaml"


def check_rules(
    corpus: CorpusSpec,
    sources: Sequence[SourceSpec],
    places: Mapping[str, str],
    *,
    outlines: Sequence[SourceSpec] = (),
    all_read: bool = True,
    quotas_read: bool = True,
) -> list[Problem]:
    """Every rule that is broken, and none that is only because something else is at fault.

    `places`: source name to `file: key` for the messages. `outlines`: sources that have faults of their own and are
    there nevertheless. Unless `all_read` there may be other sources, unless `quotas_read` other quotas: then none is
    said to be missing.
    """
    there = [*sources, *outlines]
    return [
        *_shares(corpus.quotas, "quotas"),
        *_leafless(corpus),
        *(_unknown_sources(corpus, there) if all_read else ()),
        *_names(corpus),
        *(_unknown_categories(corpus) if quotas_read else ()),
        *(_sources_without_quota(corpus, sources, places) if quotas_read else ()),
        *(_quotas_without_source(corpus, there) if all_read else ()),
        *_mixed_weights(corpus, sources, places),
        *_imageless(sources, places),
        *_annotations(corpus),
        *_filters(corpus),
    ]


def _shares(siblings: Mapping[str, QuotaNode], key: str) -> Iterator[Problem]:
    shares = [node.share for node in siblings.values() if node.share is not None]
    total = sum(shares, Fraction(0))
    if shares and total != 1:
        yield Problem(_CORPUS, key, f"shares sum to {total} ({float(total):.6g}), not to 1")
    if not siblings:
        yield Problem(_CORPUS, key, "empty; name at least one category")
    for name, node in siblings.items():
        if "/" in name or not name.strip():
            yield Problem(_CORPUS, f"{key}.{name}", "a name is not empty and has no slash; nest instead")
        if node.subcategories:
            yield from _shares(node.subcategories, f"{key}.{name}.subcategories")


def _leafless(corpus: CorpusSpec) -> Iterator[Problem]:
    for name, node in corpus.quotas.items():
        if not node.subcategories:
            yield Problem(_CORPUS, f"quotas.{name}", "a category needs subcategories")


def _unknown_sources(corpus: CorpusSpec, sources: Sequence[SourceSpec]) -> Iterator[Problem]:
    known = {spec.name for spec in sources}
    for name in corpus.dedup.precedence:
        if name not in known:
            yield Problem(_CORPUS, "dedup.precedence", f"no source {name!r}; {did_you_mean(name, known)}")
    for key, only in _only(corpus):
        yield from _sources_named(only, key, known)


def _unknown_categories(corpus: CorpusSpec) -> Iterator[Problem]:
    if isinstance(corpus.dedup.near_bits, dict):
        for category in corpus.dedup.near_bits.keys() - corpus.quotas.keys():
            told = f"no such category in quotas; {did_you_mean(category, corpus.quotas)}"
            yield Problem(_CORPUS, f"dedup.near_bits.{category}", told)
    for key, only in _only(corpus):
        yield from _categories_named(only, key, corpus)


def _only(corpus: CorpusSpec) -> Iterator[tuple[str, OnlySpec]]:
    for number, one in enumerate(corpus.annotations):
        yield f"annotations[{number}].only", one.only
    for name, each in corpus.filters.items():
        yield f"filters.{name}.only", each.only


def _names(corpus: CorpusSpec) -> Iterator[Problem]:
    if len(set(corpus.dedup.precedence)) != len(corpus.dedup.precedence):
        yield Problem(_CORPUS, "dedup.precedence", "a source is named twice")
    for target in corpus.refresh_targets or ():
        if target not in corpus.targets:
            told = f"no target {target!r}; {did_you_mean(target, corpus.targets)}"
            yield Problem(_CORPUS, "refresh_targets", told)
    if not corpus.targets:
        yield Problem(_CORPUS, "targets", "empty; name at least one, such as 1k: 1000, or full: all")


def _annotations(corpus: CorpusSpec) -> Iterator[Problem]:
    names = [one.name for one in corpus.annotations]
    for number, one in enumerate(corpus.annotations):
        key = f"annotations[{number}]"
        if one.name in names[:number]:
            yield Problem(_CORPUS, f"{key}.name", f"{one.name!r} is there already; a name stands once")


def _filters(corpus: CorpusSpec) -> Iterator[Problem]:
    """All that can be told without looking at files: filters that read imported values are left to `check`."""
    imported = {one.name for one in corpus.annotations if one.imported}
    told = {name: one for name, one in corpus.filters.items() if not one.annotations & imported}
    built_in = {one.name for one in corpus.annotations} & annotations_read(told)
    columns = built_in_columns(built_in)
    for name, why in filter_faults(told, columns, [one.name for one in corpus.annotations]):
        yield Problem(_CORPUS, f"filters.{name}.keep", why)
    for number, annotation in enumerate(corpus.annotations):
        if annotation.name == IMAGE_FACTS:
            why = f"{IMAGE_FACTS} is what every row has of its images; take another name"
            yield Problem(_CORPUS, f"annotations[{number}].name", why)


def _categories_named(only: OnlySpec, key: str, corpus: CorpusSpec) -> Iterator[Problem]:
    """Categories that are named and that have no quota."""
    for name in sorted(set(only.category).difference(corpus.quotas)):
        told = f"no category {name!r} in quotas; {did_you_mean(name, corpus.quotas)}"
        yield Problem(_CORPUS, f"{key}.category", told)


def _sources_named(only: OnlySpec, key: str, known: AbstractSet[str]) -> Iterator[Problem]:
    """Sources that are named and that there are not."""
    for name in sorted(set(only.source).difference(known)):
        yield Problem(_CORPUS, f"{key}.source", f"no source {name!r}; {did_you_mean(name, known)}")


def _sources_without_quota(
    corpus: CorpusSpec, sources: Sequence[SourceSpec], places: Mapping[str, str]
) -> Iterator[Problem]:
    leaves = corpus.leaves()
    for spec in sources:
        file, _, key = places[spec.name].partition(": ")
        if spec.category not in corpus.quotas:
            yield Problem(
                file, f"{key}.category", f"{spec.category!r} has no quota in corpus.yaml; "
                f"{did_you_mean(spec.category, corpus.quotas)}",
            )  # fmt: skip
            continue
        named = sorted(leaf for category, leaf in leaves if category == spec.category)
        for subcategory in sorted(fixed_subcategories(spec) or ()):
            if (spec.category, subcategory) not in leaves:
                yield Problem(
                    file, f"{key}.{'subcategory' if spec.subcategory else 'subcategory_from.map'}",
                    f"{spec.category}/{subcategory} has no quota in corpus.yaml; {did_you_mean(subcategory, named)}",
                )  # fmt: skip


def fixed_subcategories(spec: SourceSpec) -> frozenset[str] | None:
    """Subcategories a source can give; None where its labels decide and no map names them."""
    if spec.subcategory is not None:
        return frozenset({spec.subcategory})
    if spec.subcategory_from is not None and spec.subcategory_from.map is not None:
        return frozenset(spec.subcategory_from.map.values())
    return None


def _imageless(sources: Sequence[SourceSpec], places: Mapping[str, str]) -> Iterator[Problem]:
    for spec in sources:
        if spec.words_only():
            file, _, key = places[spec.name].partition(": ")
            told = "a sample has an image; `[]` is for benchmarks, which stand in benchmarks/*.yaml"
            yield Problem(file, f"{key}.image_column", told)


def _covers(spec: SourceSpec, category: str, leaf: str) -> bool:
    fixed = fixed_subcategories(spec)
    return spec.category == category and (fixed is None or leaf in fixed)


def _meant(corpus: CorpusSpec, spec: SourceSpec) -> Iterator[tuple[str, str]]:
    """Quotas that a source means by a name that has none, as its own fault tells: nothing is missing there."""
    category = spec.category if spec.category in corpus.quotas else nearest(spec.category, corpus.quotas)
    named = sorted(leaf for one, leaf in corpus.leaves() if one == category)
    for subcategory in fixed_subcategories(spec) or named:
        leaf = subcategory if subcategory in named else nearest(subcategory, named)
        if category is not None and leaf is not None:
            yield category, leaf


def _quotas_without_source(corpus: CorpusSpec, sources: Sequence[SourceSpec]) -> Iterator[Problem]:
    meant = {quota for spec in sources for quota in _meant(corpus, spec)}
    for category, leaf in sorted(corpus.leaves()):
        if (category, leaf) not in meant and not any(_covers(spec, category, leaf) for spec in sources):
            yield Problem(
                _CORPUS, f"quotas.{category}.subcategories.{leaf.replace('/', '.subcategories.')}",
                "no source gives this; add one, or take the quota out",
            )  # fmt: skip


def _mixed_weights(
    corpus: CorpusSpec, sources: Sequence[SourceSpec], places: Mapping[str, str]
) -> Iterator[Problem]:
    told: dict[str, list[str]] = defaultdict(list)
    for category, leaf in sorted(corpus.leaves()):
        sharing = [spec for spec in sources if _covers(spec, category, leaf)]
        if any(spec.weight is not None for spec in sharing):
            for spec in sharing:
                if spec.weight is None:
                    told[spec.name].append(f"{category}/{leaf}")
    for name, subcategories in told.items():
        file, _, key = places[name].partition(": ")
        yield Problem(
            file, f"{key}.weight",
            f"missing, though other sources of {', '.join(subcategories)} have one; give all or none",
        )  # fmt: skip
