"""The renderer identity of a slice: whether this machine may go on with what another drew."""

from functools import partial
from typing import TYPE_CHECKING, cast

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import RendererError
from vlm_assets.words.manifest import SliceManifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vlm_assets.pdf.facts import Renderer
    from vlm_assets.pdf.identity import RendererIdentity


def identity_here(spec: SourceSpec) -> "RendererIdentity | None":
    """What this machine draws a source's pages as; None where the source takes its images as they are.

    Raises:
        OperationError: the renderer is missing or broken.
    """
    renderer = spec.drawn_by()
    if renderer is None:
        return None
    from vlm_assets.pdf.identity import renderer_identity  # noqa: PLC0415 - pikepdf and pdfium, for pages alone

    return renderer_identity(cast("Renderer", renderer))


def identity_asked(spec: SourceSpec, *, accept_renderer: bool) -> "Callable[[], str | None] | None":
    """What `slice_due` takes: the name of the identity here, drawn when asked for; None where nothing is accepted."""
    return partial(_name_here, spec) if accept_renderer else None


def _name_here(spec: SourceSpec) -> str | None:
    found = identity_here(spec)
    return found.name if found else None


def refuse_mixture(name: str, spec: SourceSpec, manifest: SliceManifest | None, due_items: int) -> None:
    """Returns where due items may be drawn into a slice: nothing is due, or all of it was drawn as it is here.

    Raises:
        RendererError: the slice was drawn under another identity; the message names both.
    """
    if not due_items or manifest is None or manifest.renderer is None:
        return
    here = _name_here(spec)
    if here != manifest.renderer:
        raise RendererError(
            f"{name}: was drawn under the renderer identity {manifest.renderer}, this machine's is {here}; the slice "
            f"stays as it is and what is due of it waits ({so_many(due_items, 'item')}). "
            "Build on a machine of that identity, or draw all of "
            "it again here with --accept-renderer"
        )


def identity_of_slice(
    kept: str | None, here: "RendererIdentity | None", figures: "Mapping[str, float]"
) -> str | None:
    """What a manifest says: the identity here where pages were drawn or pictures encoded, and that of what is kept.

    Both are one. Where they are not, both stand there, joined by `+`: the audit calls it an error.
    """
    drawn = here is not None and figures.get("pages_rendered", 0) + figures.get("pages_encoded", 0) > 0
    names = {kept} | ({here.name} if here is not None and drawn else set())
    return "+".join(sorted(name for name in names if name)) or None
