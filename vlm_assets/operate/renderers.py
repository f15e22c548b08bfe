"""What draws pages on this machine, whether it can, and what other machines drew: for `check`."""

from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.installation.opening import Installation
from vlm_assets.words.errors import OperationError


@dataclass(frozen=True, slots=True)
class RendererReport:
    """A renderer that enabled sources ask for: its version and identity here, or what is wrong with it."""

    renderer: str
    sources: tuple[str, ...]
    version: str = ""
    identity: str = ""
    problem: str = ""
    elsewhere: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Committed slices of these sources, `source/slice`, by another identity that they were drawn under."""


def examine_renderers(installation: Installation) -> list[RendererReport]:
    """A report a renderer, by name. All draw the reference pages at once, for about a second."""
    by_renderer: defaultdict[str, list[SourceSpec]] = defaultdict(list)
    for spec in installation.catalog.fetched:
        renderer = spec.drawn_by() if spec.enabled else None
        if renderer is not None:
            by_renderer[renderer].append(spec)
    with ThreadPoolExecutor(max(1, len(by_renderer))) as threads:  # each draws in a process of its own
        return list(threads.map(lambda one: _examine(installation, *one), sorted(by_renderer.items())))


def _examine(installation: Installation, renderer: str, specs: list[SourceSpec]) -> RendererReport:
    from vlm_assets.ingest.renderer import identity_here  # noqa: PLC0415 - `check` loads no pyarrow

    names = tuple(spec.name for spec in specs)
    try:
        here = identity_here(specs[0])
    except OperationError as error:
        return RendererReport(renderer, names, problem=str(error))
    if here is None:
        return RendererReport(renderer, names)
    return RendererReport(
        renderer, names, here.version, here.name, elsewhere=_elsewhere(installation, names, here.name)
    )


def _elsewhere(installation: Installation, sources: tuple[str, ...], here: str) -> dict[str, tuple[str, ...]]:
    from vlm_assets.ingest.summary import summarise_source  # noqa: PLC0415 - `check` loads no pyarrow

    found: defaultdict[str, list[str]] = defaultdict(list)
    for source in sources:
        for key, one in summarise_source(installation.root, source).slices.items():
            if one.renderer not in {None, here}:
                found[str(one.renderer)].append(f"{source}/{key}")
    return {identity: tuple(names) for identity, names in sorted(found.items())}
