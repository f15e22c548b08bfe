"""Which columns of a table hold images, and how. Pure, over Arrow types."""

from typing import Any, Final

import pyarrow as pa

from vlm_assets.captions.arrow_types import is_binary, is_list, is_text
from vlm_assets.hub.cells import ImageShape
from vlm_assets.words.errors import SourceError

IMAGE_NAMES: Final = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo")
"""Of columns that hold images, in small letters."""


def image_shape(field: pa.Field, feature: Any) -> tuple[ImageShape, bool] | None:
    """How a column holds images, and whether a list of them; None where it plainly holds none.

    Without a Hugging Face feature it does when it is struct<bytes, path>, or a struct with bytes or plain bytes
    under a usual name.
    """
    many = False
    if isinstance(feature, list) and len(feature) == 1:  # how `datasets` before 4 wrote lists
        feature, many = feature[0], True
    elif isinstance(feature, dict) and feature.get("_type") in ("List", "LargeList", "Sequence"):
        feature, many = feature.get("feature"), True
    declared = isinstance(feature, dict) and feature.get("_type") == "Image"
    kind = field.type
    if is_list(kind):
        kind, many = kind.value_type, True
    if pa.types.is_struct(kind):
        names = {kind.field(i).name for i in range(kind.num_fields)}
        usual = field.name.lower() in IMAGE_NAMES and "bytes" in names and is_binary(kind.field("bytes").type)
        plain = usual or names == {"bytes", "path"}
        return ("struct", many) if declared or plain else None
    if is_binary(kind):
        return ("binary", many) if declared or field.name.lower() in IMAGE_NAMES else None
    return ("text", many) if declared and is_text(kind) else None


def named_shape(kind: pa.DataType, name: str, where: str) -> tuple[ImageShape, bool]:
    """The same of a column that the catalogue names.

    Raises:
        SourceError: it can hold none.
    """
    many = is_list(kind)
    inner = kind.value_type if many else kind
    if pa.types.is_struct(inner) and {"bytes", "path"}.intersection(one.name for one in inner):
        return "struct", many
    if is_binary(inner):
        return "binary", many
    if is_text(inner):
        return "text", many
    raise SourceError(f"{where}: column {name!r} (image_column) is {kind}: no images")


def other_fields(kind: pa.DataType) -> tuple[str, ...]:
    """Fields of an image's struct beside its bytes and path."""
    kind = kind.value_type if is_list(kind) else kind
    fields = [one.name for one in kind] if pa.types.is_struct(kind) else []
    return tuple(name for name in fields if name not in {"bytes", "path"})
