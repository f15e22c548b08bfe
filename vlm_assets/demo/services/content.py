"""What the hosted services of the demo hold: a few hundred small pictures in every layout that the kinds read.

Equal bytes on every machine. `hosted_sources` is the catalogue's side of it.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.demo.services.github import GitHubService
from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.images import ImageSite
from vlm_assets.demo.services.kaggle import KaggleService
from vlm_assets.demo.services.pictures import Picture, picture, tar_of, zip_of

IMAGE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CLASSES: Final = ("boat", "bridge", "tower")
_CARD: Final = """---
license: cc0-1.0
configs:
- config_name: istanbul
  data_files:
  - {split: train, path: istanbul/train-*.parquet}
  - {split: test, path: istanbul/test.parquet}
- config_name: izmir
  data_files: izmir/*.parquet
---
# Scenes
"""


def fill_hub(hub: HubService, site: ImageSite) -> None:
    """Repositories with Parquet in two configs, conversations, a WebDataset, an imagefolder, URLs; one is gated."""
    hub.add("demo/scenes", {
        "README.md": _CARD.encode(),
        **{f"istanbul/train-{n:05d}-of-00002.parquet": labelled_parquet(f"ist{n}", 30) for n in range(2)},
        "istanbul/test.parquet": labelled_parquet("ist-test", 10),
        "izmir/train.parquet": labelled_parquet("izm", 20),
    })  # fmt: skip
    hub.add(
        "demo/chat", {"README.md": b"# Chat", "data/train-00000-of-00001.parquet": chat_parquet("chat", 12)}
    )
    hub.add("demo/shards", {f"train-{n:03d}.tar": webdataset_tar(f"web{n}", 15) for n in range(2)})
    hub.add("demo/folder", imagefolder("pets", 24))
    hub.add("demo/links", {"data/train.parquet": links_parquet(site, 40)})
    hub.add("demo/gated", {"train.parquet": labelled_parquet("gated", 3)}, access="gated")


def fill_github(github: GitHubService) -> None:
    """A release with a zip, a compressed tar, loose images, and a file that is none of these."""
    github.release("demo/posters", "v1.0", {
        "posters.zip": zip_of((f"{p.label}/{p.name}", p.data) for p in _pictures("poster", 24, ("market", "night"))),
        "sketches.tar.gz": tar_of(((p.name, p.data) for p in _pictures("sketch", 12, ("tower",))), "w:gz"),
        **{p.name: p.data for p in _pictures("cover", 4, ("garden",))},
        "SHA256SUMS": b"not an image\n",
    })  # fmt: skip


def fill_kaggle(kaggle: KaggleService) -> None:
    """An archive with classes as folders, droppings, and a member that wants to leave."""
    files = [(f"{p.label}/{p.name}", p.data) for p in _pictures("animal", 45, ("cat", "dog", "bird"))]
    kaggle.add("demo/animals", zip_of([
        *files, ("__MACOSX/cat/._animal-0.jpg", b"x"), ("labels.csv", b"name,label\n"), ("../outside.jpg", b"x"),
    ]))  # fmt: skip


def save_disk_dataset(folder: Path) -> None:
    """A DatasetDict as `save_to_disk` leaves it, under `folder`; what is there stays."""
    if (folder / "dataset_dict.json").exists():
        return
    for split, count in (("train", 24), ("validation", 8)):
        target = folder / split
        target.mkdir(parents=True, exist_ok=True)
        table = labelled_table(f"disk-{split}", count)
        name = "data-00000-of-00001.arrow"
        with pa.OSFile(str(target / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        state: dict[str, Any] = {"_data_files": [{"filename": name}], "_fingerprint": split, "_format_columns": None,
                 "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False,
                 "_split": split}  # fmt: skip
        (target / "state.json").write_bytes(orjson.dumps(state))
        (target / "dataset_info.json").write_bytes(b"{}")
    (folder / "dataset_dict.json").write_bytes(orjson.dumps({"splits": ["train", "validation"]}))


def hosted_sources(disk_dataset: Path) -> list[dict[str, Any]]:
    """Catalogue entries over all of the above, one or two a kind; all in the category `hosted`."""
    common = {"category": "hosted", "licence": "CC0-1.0"}
    return [
        {"name": "scenes", "kind": "hf_dataset", "repo": "demo/scenes",
         "subcategory_from": {"column": "label", "map": dict.fromkeys(CLASSES, "scenes")}, **common},
        {"name": "chat", "kind": "hf_dataset", "repo": "demo/chat", "subcategory": "chat", **common},
        {"name": "shards", "kind": "hf_dataset", "repo": "demo/shards", "subcategory": "scenes", **common},
        {"name": "folder", "kind": "hf_dataset", "repo": "demo/folder", "subcategory": "animals", **common},
        {"name": "links", "kind": "hf_image_urls", "repo": "demo/links", "subcategory": "scenes",
         "rows_per_slice": 20, "reject_tolerance": 0.5, "requests_per_second": 200, **common},
        {"name": "disk", "kind": "hf_disk", "path": str(disk_dataset), "subcategory": "scenes", **common},
        {"name": "animals", "kind": "kaggle", "handle": "demo/animals", "subcategory": "animals",
         "reject_tolerance": 1, **common},
        {"name": "posters", "kind": "github_release", "repo": "demo/posters", "subcategory": "posters", **common},
    ]  # fmt: skip


def labelled_table(prefix: str, count: int) -> pa.Table:
    """Rows of image, text and ClassLabel, as `push_to_hub` writes them."""
    made = _pictures(prefix, count, CLASSES)
    features = {"image": {"_type": "Image"}, "text": {"dtype": "string", "_type": "Value"},
                "label": {"names": list(CLASSES), "_type": "ClassLabel"}}  # fmt: skip
    table = pa.table({
        "image": pa.array([{"bytes": one.data, "path": one.name} for one in made], IMAGE),
        "text": [one.caption for one in made],
        "label": pa.array([CLASSES.index(one.label) for one in made], pa.int64()),
    })  # fmt: skip
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def labelled_parquet(prefix: str, count: int) -> bytes:
    """`labelled_table` as a Parquet file."""
    return _parquet(labelled_table(prefix, count))


def chat_parquet(prefix: str, count: int) -> bytes:
    """One or two images a row and a conversation about them: the usual layout of VLM training sets."""
    rows = [_pictures(f"{prefix}{n}", 1 + n % 2, ("street", "night")) for n in range(count)]
    return _parquet(pa.table({
        "images": pa.array([[{"bytes": p.data, "path": None} for p in row] for row in rows], pa.list_(IMAGE)),
        "messages": [
            [{"role": "user", "content": "<image>" * len(row) + " Ne görüyorsun?"},
             {"role": "assistant", "content": row[0].caption}]
            for row in rows
        ],
    }))  # fmt: skip


def webdataset_tar(prefix: str, count: int) -> bytes:
    """Samples of an image, a json and a class."""
    return tar_of(
        member
        for one in _pictures(prefix, count, ("boat", "garden"))
        for member in (
            (one.name, one.data),
            (one.name.replace(".jpg", ".json"), orjson.dumps({"caption": one.caption})),
            (one.name.replace(".jpg", ".cls"), one.label.encode()),
        )
    )


def imagefolder(prefix: str, count: int) -> dict[str, bytes]:
    """Loose images in a folder with `metadata.jsonl`."""
    made = _pictures(prefix, count, ("cat", "dog"))
    rows = [orjson.dumps({"file_name": one.name, "text": one.caption, "label": one.label}) for one in made]
    return {"train/metadata.jsonl": b"\n".join(rows), **{f"train/{one.name}": one.data for one in made}}


def links_parquet(site: ImageSite, count: int) -> bytes:
    """URLs of pictures with captions; some of the pictures are gone."""
    return _parquet(pa.table({
        "url": [site.url_of("bridge", n) for n in range(count)],
        "caption": [f"Köprü {n}" for n in range(count)],
    }))  # fmt: skip


def _pictures(prefix: str, count: int, labels: Sequence[str]) -> list[Picture]:
    return [picture(f"{prefix}-{n}", labels[n % len(labels)]) for n in range(count)]


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=16)
    return buffer.getvalue()
