"""What a page's resources lead to: dictionaries, forms, images, each once.

Pages share resources, and forms each other's: a walk along all paths takes exponential time in a file of 4 KB.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

import pikepdf

_FLATE: Final = ("/FlateDecode", "/Fl")
_KINDS: Final = ("/XObject", "/Pattern")

Place = tuple[int, int]
"""Object and generation number; (0, 0) of an object that stands inside another."""


def reached(
    resources: Iterable[pikepdf.Object | None],
) -> Iterator[tuple[pikepdf.Dictionary, list[pikepdf.Stream]]]:
    """Every resource dictionary that these are or lead to, once, with the XObjects in it that were not met before."""
    seen: set[Place] = set()
    waiting = list(resources)
    while waiting:
        inside = waiting.pop()
        if not isinstance(inside, pikepdf.Dictionary) or inside.objgen in seen:
            continue
        if inside.is_indirect:
            seen.add(inside.objgen)
        drawn = []
        for kind in _KINDS:
            named = inside.get(kind)
            for one in dict(named).values() if isinstance(named, pikepdf.Dictionary) else ():
                if isinstance(one, pikepdf.Stream) and one.objgen not in seen:
                    seen.add(one.objgen)
                    drawn.append(one)
        waiting += [one.get("/Resources") for one in drawn]
        yield inside, drawn


def unflated(stream: pikepdf.Stream, limit: int) -> bytes | None:
    """What the Flate filters of a stream give, predictors left in, and no more than `limit` bytes of it.

    None where there are other filters, or none, or the data are damaged: qpdf repairs some.
    """
    value = stream.get("/Filter")
    filters = [value] if isinstance(value, pikepdf.Name) else list(value or ())
    if not filters or any(str(name) not in _FLATE for name in filters):
        return None
    data = stream.read_raw_bytes()
    try:
        for _ in filters:
            data = zlib.decompressobj().decompress(data, limit)
    except zlib.error:
        return None
    return data
