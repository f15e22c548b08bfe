"""Text files beside images: whose they are, and what they say."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vlm_assets.captions.json_rows import parsed_json
from vlm_assets.captions.names import image_suffixes
from vlm_assets.captions.text_files import Encoding, Opener, read_text
from vlm_assets.captions.words import Words, words_of
from vlm_assets.words.errors import SourceError

TEXT_SUFFIXES: Final = (".txt", ".caption")
"""Their whole content is the text; the first that there is counts."""
OBJECT_SUFFIX: Final = ".json"
"""An object: its text where no text file has one, and other columns."""
_SUFFIXES: Final = (*TEXT_SUFFIXES, OBJECT_SUFFIX)


@dataclass(frozen=True, slots=True)
class Sidecars:
    """Which text files belong to which images."""

    by_image: Mapping[str, Sequence[str]]
    """Names of an image's sidecars, that with its text first; at most one of texts and one of objects."""
    unused: Sequence[str]
    """Sidecar files that belong to no image, or behind another of the same image, sorted."""


def is_sidecar_name(name: str) -> bool:
    """Whether a file's suffix, in any case, is one of sidecars."""
    return name.lower().endswith(_SUFFIXES)


def named_like(names: Iterable[str], images: Collection[str]) -> list[str]:
    """Those of the files that are called like sidecars of these images."""
    cut = [(name, _cut(name)[0]) for name in names if is_sidecar_name(name)]
    suffixes = image_suffixes(images) if cut else ()
    return [
        name
        for name, named in cut
        if named in images or any(f"{named}{suffix}" in images for suffix in suffixes)
    ]


def match_sidecars(images: Iterable[str], others: Iterable[str]) -> Sidecars:
    """Gives each sidecar to the images that it names.

    `a.jpg.txt` belongs to `a.jpg` alone, even beside `a.jpg.webp`; `a.txt` to every image `a.*` of its folder that
    has none of its own by its whole name. Case counts, but for the suffix.
    """
    known = set(images)
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    for image in known:
        by_stem[_stem(image)].append(image)
    found: defaultdict[str, dict[tuple[bool, int, bool], str]] = defaultdict(dict)
    unused: list[str] = []
    for name in sorted(filter(is_sidecar_name, others)):
        named, suffix = _cut(name)
        owners = [named] if named in known else by_stem.get(named, [])
        for owner in owners:
            rank = (suffix == OBJECT_SUFFIX, int(named not in known), _SUFFIXES.index(suffix) > 0)
            found[owner].setdefault(rank, name)
        if not owners:
            unused.append(name)
    chosen = {image: _chosen(ranked) for image, ranked in found.items()}
    used = {name for names in chosen.values() for name in names}
    unused += {name for ranked in found.values() for name in ranked.values()} - used
    return Sidecars(chosen, sorted(unused))


def read_sidecars(
    files: Sequence[tuple[str, str, Opener]],
    encoding: Encoding,
    *,
    text_column: str | None = None,
    messages_column: str | None = None,
) -> Words:
    """The words in one image's sidecars, given as name, place and opener in the order of `by_image`.

    Raises:
        SourceError: undecodable, or an object that is none.
    """
    text: str | None = None
    said = Words()
    for name, where, opener in files:
        content = read_text(where, opener, encoding)
        if name.lower().endswith(OBJECT_SUFFIX):
            values = _object(content, where)
            said = words_of(values, where, text_column=text_column, messages_column=messages_column)
        else:
            text = content.strip() or None
    if text is None:
        return said
    other = {} if said.text in (None, text) else {"text": said.text}
    return Words(text, said.messages, {**said.extra, **other})


def _object(content: str, where: str) -> dict[str, Any]:
    value = parsed_json(content, where)
    if not isinstance(value, dict):
        raise SourceError(f"{where}: expected an object, got {type(value).__name__}")
    return value


def _chosen(ranked: Mapping[tuple[bool, int, bool], str]) -> list[str]:
    """The best text file and the best object."""
    best: dict[bool, str] = {}
    for rank in sorted(ranked):
        best.setdefault(rank[0], ranked[rank])
    return [best[kind] for kind in sorted(best)]


def _cut(name: str) -> tuple[str, str]:
    suffix = next(suffix for suffix in _SUFFIXES if name.lower().endswith(suffix))
    return name[: -len(suffix)], suffix


def _stem(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.rpartition('.')[0] or base}"
