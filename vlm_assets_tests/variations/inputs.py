"""What is built: upstream services on loopback, folders, and a catalogue with a source of every kind, all small."""

import csv
import io
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from vlm_assets.demo.newspaper_site import DemoIssue, DemoTitle, NewspaperSite
from vlm_assets.demo.run import ARCHIVE, PICTURES
from vlm_assets.demo.services.content import (
    CLASSES,
    chat_parquet,
    imagefolder,
    labelled_parquet,
    links_parquet,
    save_disk_dataset,
    webdataset_tar,
)
from vlm_assets.demo.services.github import GitHubService
from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.images import ImageSite
from vlm_assets.demo.services.kaggle import KaggleService
from vlm_assets.demo.services.pictures import picture as drawn_picture
from vlm_assets.demo.services.pictures import tar_of, zip_of
from vlm_assets.demo.services.running import RunningServices
from vlm_assets.images.facts import FORMATS
from vlm_assets.images.plugins import missing_plugins
from vlm_assets_tests.images.pictures import animation, encoded, exif, picture
from vlm_assets_tests.variations.documents import write_documents, write_scans

TARGETS: Final = ("40", "all")
CHANGED: Final = ("pictures", "root", "JPEG.jpg")
"""The source, the slice and the item of the upstream file that is changed for the trial of the lock."""
_LICENCE: Final = {"licence": "CC0-1.0"}
_TITLES: Final = (
    DemoTitle(
        "vatan", "Vatan",
        tuple(
            DemoIssue(1940, f"{day} Ağustos 1940", f"vatan/vatan_1940/vatan_1940_agustos_{day}_.pdf", content, 1)
            for day, content in ((4, "scan"), (5, "drawing"), (6, "cut"), (7, "web_page"))
        ),
        encoding="iso-8859-9", declared="meta",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Inputs:
    """Folder of the catalogue and of the files that it names, and what leads a build to the services."""

    folder: Path
    environment: dict[str, str]

    @property
    def catalog(self) -> Path:
        return self.folder / "catalog"

    def changed(self, folder: Path) -> "Inputs":
        """A copy, lock included, in which one picture is another one."""
        shutil.copytree(self.folder, folder)
        (folder / "client" / "pictures" / CHANGED[2]).write_bytes(encoded(picture(seed=99), "JPEG"))
        return Inputs(folder, self.environment)


@contextmanager
def served_inputs(folder: Path) -> Iterator[Inputs]:
    """Makes the inputs in a folder that is not there yet, and serves the others while it lasts."""
    with ExitStack() as stack:
        site = stack.enter_context(ImageSite())
        archive = stack.enter_context(NewspaperSite(_TITLES))
        site.known_as, archive.known_as = PICTURES, ARCHIVE
        hosted = RunningServices(HubService(), GitHubService(), KaggleService())
        for service in (hosted.hub, hosted.github, hosted.kaggle):
            stack.enter_context(service)
        hosted.kaggle.sites += [site, archive]
        _fill(hosted, site)
        _write(folder, site, archive)
        yield Inputs(folder, hosted.proxied())


def _fill(hosted: RunningServices, site: ImageSite) -> None:
    hosted.hub.add("demo/scenes", {"train.parquet": labelled_parquet("scene", 8)})
    hosted.hub.add("demo/chat", {"data/train-00000-of-00001.parquet": chat_parquet("chat", 6)})
    hosted.hub.add("demo/shards", {"train-000.tar": webdataset_tar("web", 6)})
    hosted.hub.add("demo/folder", imagefolder("pets", 6))
    hosted.hub.add("demo/links", {"data/train.parquet": links_parquet(site, 9)})
    animals = [drawn_picture(f"animal-{n}", ("cat", "dog")[n % 2]) for n in range(6)]
    hosted.kaggle.add("demo/animals", zip_of((f"{one.label}/{one.name}", one.data) for one in animals))
    posters = [drawn_picture(f"poster-{n}", "market") for n in range(6)]
    packed = [(one.name, one.data) for one in posters]
    hosted.github.release(
        "demo/posters",
        "v1.0",
        {"a.zip": zip_of(packed[:2]), "b.tar.gz": tar_of(packed[2:4], "w:gz"), **dict(packed[4:])},
    )


def _write(folder: Path, site: ImageSite, archive: NewspaperSite) -> None:
    client, sources = folder / "client", folder / "catalog" / "sources"
    for path in (client / "pictures", client / "packed", client / "drawn", sources):
        path.mkdir(parents=True)
    formats = [form for form in FORMATS if not missing_plugins([form])]
    for name, data in _pictures(formats).items():
        (client / "pictures" / name).write_bytes(data)
        (client / "pictures" / f"{Path(name).stem}.txt").write_text(f"Bir {name}: ışık, İğde", "utf-8")
    inside = [(f"{n}.jpg", encoded(picture(seed=20 + n), "JPEG")) for n in range(3)]
    (client / "packed" / "bir.zip").write_bytes(zip_of(inside))
    write_documents(client / "documents")
    write_scans(client / "drawn" / "taramalar.pdf")
    save_disk_dataset(client / "disk")
    _write_urls(folder / "catalog" / "urls.csv", site)
    (folder / "catalog" / "corpus.yaml").write_text(yaml.safe_dump(_corpus(formats)), "utf-8")
    (sources / "all.yaml").write_text(yaml.safe_dump({"sources": _sources(archive)}), "utf-8")


def _pictures(formats: list[str]) -> dict[str, bytes]:
    """Each format once, and what is read by ways of its own: greys, alphas, palettes, films, turned ones."""
    endings = {"JPEG": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}
    made = {f"{form}.{endings.get(form, form.lower())}": encoded(picture(), form) for form in formats}
    made |= {f"film-{form}.{form.lower()}": animation(form, 3) for form in ("GIF", "PNG", "WEBP")}
    return made | {
        "grey.jpg": encoded(picture(mode="L", seed=1), "JPEG"),
        "cmyk.jpg": encoded(picture(seed=2).convert("CMYK"), "JPEG"),
        "turned.jpg": encoded(picture(seed=3), "JPEG", progressive=True, exif=exif(t274=(3, 6))),
        "alpha.png": encoded(picture(mode="RGBA", seed=4), "PNG"),
        "palette.png": encoded(picture(seed=5).convert("P"), "PNG"),
        "deep.png": encoded(picture(mode="I;16", seed=6), "PNG"),
        "lossless.webp": encoded(picture(mode="RGBA", seed=8), "WEBP", lossless=True),
        "fax.tif": encoded(picture(seed=9).convert("1"), "TIFF", compression="group4"),
        "packed.tif": encoded(picture(seed=10), "TIFF", compression="tiff_adobe_deflate"),
        "half.jpg": encoded(picture(seed=11), "JPEG")[:900],
        "page.jpg": b"<html><body>404</body></html>",
        "copy.jpg": encoded(picture(), "JPEG"),
    }


def _write_urls(path: Path, site: ImageSite) -> None:
    lines = io.StringIO()
    rows = csv.writer(lines, lineterminator="\n")
    rows.writerow(["url", "caption"])
    rows.writerows([site.url_of("garden", number), f"Bahçe {number}"] for number in range(12))
    path.write_text(lines.getvalue(), "utf-8")


def _corpus(formats: list[str]) -> dict[str, Any]:
    within = {name: {"share": "1/3"} for name in ("photos", "documents", "hosted")}
    return {
        "name": "same", "seed": 11, "targets": dict(zip(TARGETS, (40, 1_000), strict=True)), "formats": formats,
        "quotas": {name: {**node, "subcategories": {"any": {"share": 1}}} for name, node in within.items()},
        "dedup": {"exact": "record", "near_bits": 0}, "shortfall": "redistribute",
        "shard": {"max_bytes": "4MB", "block_rows": 8, "window_bytes": "1MB"},
    }  # fmt: skip


def _sources(archive: NewspaperSite) -> list[dict[str, Any]]:
    photos, documents, hosted = (
        {"category": name, "subcategory": "any", **_LICENCE} for name in ("photos", "documents", "hosted")
    )
    scenes = {"column": "label", "map": dict.fromkeys(CLASSES, "any")}
    return [
        {"name": "pictures", "kind": "client_folder", "path": "../client/pictures", "text": "sidecar",
         "multi_frame": "pages", "reject_tolerance": 0.5, **photos},
        {"name": "packed", "kind": "client_folder", "path": "../client/packed", **photos},
        {"name": "urls", "kind": "image_urls", "urls": "urls.csv", "text_column": "caption", "reject_tolerance": 1,
         "requests_per_second": 200, **photos},
        {"name": "documents", "kind": "pdf_folder", "path": "../client/documents", **documents},
        {"name": "drawn", "kind": "pdf_folder", "path": "../client/drawn", "embedded": "never", "dpi": 100,
         **documents},
        {"name": "gazete", "kind": "newspapers", "base_url": archive.base_url, "cooldown_s": 0.01,
         "reject_tolerance": 1, **documents},
        {"name": "scenes", "kind": "hf_dataset", "repo": "demo/scenes", "category": "hosted", **_LICENCE,
         "subcategory_from": scenes},
        {"name": "chat", "kind": "hf_dataset", "repo": "demo/chat", **hosted},
        {"name": "shards", "kind": "hf_dataset", "repo": "demo/shards", **hosted},
        {"name": "folder", "kind": "hf_dataset", "repo": "demo/folder", **hosted},
        {"name": "links", "kind": "hf_image_urls", "repo": "demo/links", "reject_tolerance": 0.5,
         "requests_per_second": 200, **hosted},
        {"name": "disk", "kind": "hf_disk", "path": "../client/disk", **hosted},
        {"name": "animals", "kind": "kaggle", "handle": "demo/animals", **hosted},
        {"name": "posters", "kind": "github_release", "repo": "demo/posters", **hosted},
    ]  # fmt: skip
