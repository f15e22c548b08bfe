"""The first catalogue: commented, sound as it stands, with one example source that is switched off."""

import re
from pathlib import Path
from typing import Final

from vlm_assets.operate.authoring.quotas import FIRST, drafted
from vlm_assets.operate.authoring.schemas import schema_line, write_schemas
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.words.layout import nfc

CORPUS_FILE: Final = "corpus.yaml"
EXAMPLE_FILE: Final = "sources/example.yaml"
_PLAIN_NAMES: Final = frozenset({"catalog", "catalogue"})
"""Folders that say nothing about what is in them; the one above does."""
_CORPUS: Final = """\
{schema}
# What is wanted. All keys with their defaults: vlm-assets docs, or vlm_assets/docs/reference.md.

name: {name}
seed: 20260115                 # any number; another one chooses other rows

targets:                       # sizes in rows, by name; each smaller one is part of the larger ones
  full: all                    # every row there is, whatever the shares below
  # 1k: 1000                   # as many as that, shared as the quotas say

{quotas}

# Where a quota cannot be met: redistribute (siblings get its rows), report (the corpus is smaller), fail.
# Unset: rows go to siblings, and `build` ends with exit 1 and names what is short.
# shortfall: redistribute

# Of equal records one stays; image: one of all with equal images, and with near_bits: 4 of those that look the same.
# dedup: {{exact: image, near_bits: 4}}

# min_side_px: 64              # smaller images stay out
# licences: {{deny: [unknown]}}
# annotations: [{{name: blur}}]  # values of rows and images, computed or imported
# filters: {{sharp: {{keep: "min(blur.laplacian) >= 30", missing: keep}}}}   # what is true of the rows that stay
"""
EXAMPLE: Final = """\
{schema}
# A source is an entry of a list. `vlm-assets add KIND WHERE` looks at one and writes its entry; it takes this example
# away, as long as nobody has changed it.

sources:
  - name: example              # unique; [a-z0-9_]+
    kind: client_folder        # also: hf_dataset, image_urls, pdf_folder, kaggle, github_release, hf_disk, …
    enabled: false             # an example: neither listed nor fetched
    category: images           # a category of quotas in corpus.yaml, and a subcategory of it
    subcategory: all           # or by folder: subcategory_from: {{folder: 1}}
    licence: CC0-1.0           # SPDX id, proprietary or unknown
    path: /data/client/photos  # from here on the kind's own keys
"""


def write_catalog(folder: Path) -> list[Path]:
    """Writes a catalogue into an empty or new folder, its JSON Schemas included; returns the files to edit.

    `corpus.yaml` is written last: without it, what a cut run wrote is no catalogue yet and is written again.

    Raises:
        FileExistsError: a catalogue is there.
        OSError: it cannot be written.
    """
    corpus, example = folder / CORPUS_FILE, folder / EXAMPLE_FILE
    others = [path for path in sorted(example.parent.glob("*.y*ml")) if path != example]
    for path in (corpus, *others):
        if path.exists():
            raise FileExistsError(f"{path} is there already")
    example.parent.mkdir(parents=True, exist_ok=True)
    write_schemas(folder)
    replace_file(example, example_text().encode())
    place = folder.absolute()
    named = place.parent.name if place.name in _PLAIN_NAMES else place.name
    text = _CORPUS.format(schema=schema_line("corpus"), name=slug(named, "corpus"), quotas=drafted({FIRST}))
    replace_file(corpus, text.encode())
    return [corpus, example]


def example_text() -> str:
    """Of the example source."""
    return EXAMPLE.format(schema=entries_line("sources"))


def entries_line(head: str) -> str:
    """The first line of every file under `sources` or `benchmarks`, which `head` says."""
    return schema_line(head, "../.schema")


def slug(text: str, otherwise: str) -> str:
    """A name for the catalogue made of any text: `[a-z0-9_]`, at most 60; Turkish letters lose their marks."""
    plain = nfc(text).translate(str.maketrans("çğıöşüÇĞİÖŞÜ", "cgiosuCGIOSU")).lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:60].strip("_") or otherwise
