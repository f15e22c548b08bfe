"""The YAML header of a card, by which the Hub and `datasets` know licence, language, columns and sizes."""

import re
from typing import Any, Final

import pyarrow as pa
import yaml

from vlm_assets.papers.figures import Figures
from vlm_assets.words.schema import IMAGE_TYPE, SAMPLE_SCHEMA

_DUMPER: Final[type[Any]] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""The one in C writes the same, ten times as fast."""
_HUB_SIZES: Final = (
    (10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
)  # fmt: skip
_HUB_LICENCES: Final = frozenset({
    "apache-2.0", "mit", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "odc-by", "odbl",
    "pddl", "unlicense", "wtfpl",
    "gpl-3.0", "bsd-3-clause",
})  # fmt: skip
"""Licences that the Hub has an id for; others are `other` with their name."""
_LICENCE_PLACE: Final = "README.md#licences"
_SEVERAL: Final = "several-see-licences"


def hub_header(figures: Figures) -> str:
    """The header with its two lines of dashes."""
    names = list(figures["licences"])
    known = sorted({name.lower() for name in names if name.lower() in _HUB_LICENCES})
    other = sorted(name for name in names if name.lower() not in _HUB_LICENCES)
    header: dict[str, Any] = {"pretty_name": f"{figures['corpus']} {figures['target']}"}
    if languages := list(figures.get("papers", {}).get("languages", ())):
        header["language"] = languages
    header["license"] = [*known, *(["other"] if other or not known else [])]
    if other or not known:
        header["license_name"] = _licence_name(other[0]) if len(other) == 1 else _SEVERAL
        header["license_link"] = _licence_link(figures, other)
    header |= {
        "size_categories": [hub_size(figures["rows"])],
        "task_categories": ["image-to-text", "image-text-to-text"],
        "tags": ["vision-language", "vlm-assets"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data-r*.arrow"}]}],
        "dataset_info": dataset_info(figures),
    }
    return f"---\n{yaml.dump(header, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)}---\n"


def hub_size(rows: int) -> str:
    """The Hub's class of so many rows."""
    return next((name for limit, name in _HUB_SIZES if rows < limit), "100M<n<1B")


def dataset_info(figures: Figures) -> dict[str, Any]:
    """Columns, rows and bytes as `datasets` writes them into a header."""
    split = {"name": "train", "num_bytes": figures["data_bytes"], "num_examples": figures["rows"]}
    return {
        "features": [_feature(field) for field in SAMPLE_SCHEMA],
        "splits": [split],
        "download_size": figures["data_bytes"],
        "dataset_size": figures["data_bytes"],
    }


def _feature(field: pa.Field) -> dict[str, Any]:
    return {"name": field.name, **_kind(field.type)}


def _kind(kind: pa.DataType) -> dict[str, Any]:
    """As `datasets.Features` writes types in YAML."""
    if kind == IMAGE_TYPE:
        return {"dtype": "image"}
    if pa.types.is_list(kind):
        inner = _kind(kind.value_type)
        return {"list": inner["dtype"] if set(inner) == {"dtype"} else inner.get("struct", inner)}
    if pa.types.is_struct(kind):
        return {"struct": [_feature(field) for field in kind]}
    return {"dtype": str(kind)}


def _licence_name(licence: str) -> str:
    """As the Hub wants names of licences: in lower case, of letters, digits, dots and hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-.") or _SEVERAL


def _licence_link(figures: Figures, other: list[str]) -> str:
    """The terms of the only source under such a licence, where it has some; else the card's table."""
    sources = {one["source"] for one in figures["sources"] if one["licence"] in other and one["present"]}
    urls = {one["url"] for one in figures["terms"] if one["source"] in sources and one["url"]}
    return urls.pop() if len(urls) == 1 and len(sources) == 1 else _LICENCE_PLACE
