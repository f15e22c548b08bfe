"""What draws pages on this machine, and whether it can: for `check`."""

from dataclasses import dataclass
from typing import cast

from vlm_assets.catalog.spec import Catalog
from vlm_assets.words.errors import OperationError


@dataclass(frozen=True, slots=True)
class RendererReport:
    """A renderer that enabled sources ask for: its version and identity here, or what is wrong with it."""

    renderer: str
    sources: tuple[str, ...]
    version: str = ""
    identity: str = ""
    problem: str = ""


def examine_renderers(catalog: Catalog) -> list[RendererReport]:
    """A report a renderer, by name. Draws the reference pages, about a second each."""
    by_renderer: dict[str, list[str]] = {}
    for spec in catalog.sources:
        renderer = spec.drawn_by() if spec.enabled else None
        if renderer is not None:
            by_renderer.setdefault(renderer, []).append(spec.name)
    return [_examine(renderer, tuple(sources)) for renderer, sources in sorted(by_renderer.items())]


def _examine(renderer: str, sources: tuple[str, ...]) -> RendererReport:
    from vlm_assets.pdf.identity import Renderer, renderer_identity

    try:
        found = renderer_identity(cast("Renderer", renderer))
    except OperationError as error:
        return RendererReport(renderer, sources, problem=str(error))
    return RendererReport(renderer, sources, found.version, found.digest)
