"""Decoders that Pillow does not bring along: loaded where an image of theirs is met, held to one thread.

Stacks of one thread a core would count against a decoder's memory limit.
"""

from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import Final

_PACKAGES: Final[Mapping[str, tuple[str, str]]] = {
    "HEIF": ("pillow_heif", "pillow-heif"),
    "JXL": ("pillow_jxl", "pillow-jxl-plugin (GPL-3.0-or-later; the extra jxl brings it)"),
}
"""The module and the package of a format's plug-in."""
READER_LINES: Final[Mapping[str, str]] = {
    "HEIF": "import pillow_heif; pillow_heif.register_heif_opener()  # pip install pillow-heif",
    "JXL": "import pillow_jxl  # pip install pillow-jxl-plugin",
}
"""What a reader of the corpus says before Pillow opens such images."""


def missing_plugins(formats: Iterable[str]) -> list[str]:
    """What must be installed before these formats can be decoded; a line each."""
    needed = {form: _PACKAGES[form] for form in formats if form in _PACKAGES}
    return [
        f"{form} needs {package}, which is not installed"
        for form, (module, package) in sorted(needed.items())
        if find_spec(module) is None
    ]


def load_plugin(form: str) -> None:
    """Makes Pillow open a format; does nothing for those that it knows by itself.

    Raises:
        ImportError: the plug-in is not installed.
    """
    if load := _LOADERS.get(form):
        load()


def _load_heif() -> None:
    import pillow_heif  # noqa: PLC0415 - where such an image is met

    pillow_heif.register_heif_opener(thumbnails=False)
    pillow_heif.options.DECODE_THREADS = 1


def _load_jxl() -> None:
    from pillow_jxl import JpegXLImagePlugin  # noqa: PLC0415 - an extra that may not be there

    JpegXLImagePlugin.DECODE_THREADS = 0  # none beside the caller's


_LOADERS: Final[Mapping[str, Callable[[], None]]] = {"HEIF": _load_heif, "JXL": _load_jxl}
