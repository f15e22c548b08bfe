"""Makes the demo's folder: client images, URL lists, catalogue, data root. Equal seeds give equal bytes."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from vlm_assets.demo.newspaper_site import NewspaperSite, pdf_of
from vlm_assets.demo.services.content import hosted_sources, save_disk_dataset
from vlm_assets.demo.services.images import ImageSite
from vlm_assets.demo.services.pictures import picture
from vlm_assets.operate.authoring.schemas import schema_line, write_schemas
from vlm_assets.operate.authoring.start import entries_line
from vlm_assets.words.layout import DataRoot

CATALOG: Final[dict[str, Any]] = {
    "name": "demo",
    "seed": 20260115,
    "targets": {"50": 50, "150": 150, "300": 300},
    "shortfall": "redistribute",
    "quotas": {
        "photos": {
            "share": "2/5",
            "subcategories": {
                "street": {"share": "0.5", "subcategories": {"day": {"share": 0.6}, "night": {"share": 0.4}}},
                "nature": {"share": "0.5", "min": 10},
            },
        },
        "graphics": {"share": "1/5", "subcategories": {"icons": {"share": 1, "max": 20}}},
        "hosted": {
            "share": "1/5",
            "subcategories": {
                "scenes": {"share": 0.4},
                "chat": {"share": 0.2},
                "animals": {"share": 0.2},
                "posters": {"share": 0.2},
            },
        },
        "documents": {
            "share": "1/5",
            "subcategories": {"newspapers": {"share": 0.7}, "reports": {"share": 0.3}},
        },
    },
    "dedup": {"exact": "record", "near_bits": 0, "precedence": ["street"]},
    "licences": {"deny": ["unknown"]},
    "min_side_px": 64,
    "shard": {"max_bytes": "1MB", "block_rows": 8, "window_bytes": "128kB"},
}


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Where the demo keeps what."""

    path: Path

    @property
    def catalog(self) -> Path:
        """The catalogue directory."""
        return self.path / "catalog"

    @property
    def data_root(self) -> Path:
        """All data."""
        return self.path / "data"

    @property
    def dagster_home(self) -> Path:
        """The demo's own Dagster instance."""
        return self.path / "dagster_home"

    def environment(self) -> dict[str, str]:
        """What points commands, `dagster dev` and the UI at the demo."""
        return {
            "VLM_CATALOG": str(self.catalog),
            "VLM_DATA_ROOT": str(self.data_root),
            "DAGSTER_HOME": str(self.dagster_home),
            "VLM_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
            "VLM_CONTACT": "demo@localhost",
        }


def prepare_demo(folder: DemoFolder, site: ImageSite, archive: NewspaperSite) -> None:
    """Writes everything that is not there yet; what is there stays byte for byte."""
    for path in (folder.data_root, folder.dagster_home, folder.catalog / "sources"):
        path.mkdir(parents=True, exist_ok=True)
    DataRoot(folder.data_root).marker.touch()
    _street(folder.path / "client" / "street")
    _icons(folder.path / "client" / "icons")
    _reports(folder.path / "client" / "reports")
    save_disk_dataset(folder.path / "client" / "disk")
    _url_list(folder.catalog / "nature.csv", site)
    write_schemas(folder.catalog)
    _write(folder.catalog / "corpus.yaml", CATALOG, schema_line("corpus"))
    _write_sources(folder, "client.yaml", _client_sources())
    _write_sources(folder, "web.yaml", _web_sources())
    _write_sources(folder, "hosted.yaml", hosted_sources(Path("../client/disk")))
    _write_sources(folder, "documents.yaml", _document_sources(archive))


def _client_sources() -> list[dict[str, Any]]:
    return [
        {
            "name": "street", "kind": "client_folder", "category": "photos", "licence": "proprietary",
            "path": "../client/street", "text": "sidecar", "reject_tolerance": 0.2,
            "subcategory_from": {"folder": 1, "map": {"gunduz": "street/day", "gece": "street/night"}},
        },
        {
            "name": "icons", "kind": "client_folder", "category": "graphics", "subcategory": "icons",
            "licence": "CC0-1.0", "path": "../client/icons",
        },
    ]  # fmt: skip


def _web_sources() -> list[dict[str, Any]]:
    return [
        {
            "name": "nature", "kind": "image_urls", "category": "photos", "subcategory": "nature",
            "licence": "CC-BY-4.0", "urls": "nature.csv", "text_column": "caption", "rows_per_slice": 40,
            "reject_tolerance": 0.5, "requests_per_second": 200,
        },
    ]  # fmt: skip


def _document_sources(archive: NewspaperSite) -> list[dict[str, Any]]:
    return [
        {
            "name": "gazete", "kind": "newspapers", "category": "documents", "subcategory": "newspapers",
            "licence": "unknown-but-public", "base_url": archive.base_url, "cooldown_s": 0.02,
            "reject_tolerance": 1,
        },
        {
            "name": "reports", "kind": "pdf_folder", "category": "documents", "subcategory": "reports",
            "licence": "CC-BY-4.0", "path": "../client/reports",
        },
    ]  # fmt: skip


def _reports(folder: Path) -> None:
    """Scanned and drawn documents."""
    for name, pages, content in (("tutanak", 3, "scan"), ("çizim", 2, "drawing"), ("rapor", 4, "scan")):
        _write_new(folder / f"{name}.pdf", pdf_of(f"demo-{name}", pages, content))


def _street(folder: Path) -> None:
    """Day and night with captions; a truncated file, a web page and a copy among them."""
    for time_of_day, count in (("gunduz", 60), ("gece", 40)):
        for number in range(count):
            made = picture(f"{time_of_day}-{number}", "street" if time_of_day == "gunduz" else "night")
            _write_new(folder / time_of_day / made.name, made.data)
            _write_new(folder / time_of_day / f"{Path(made.name).stem}.txt", made.caption.encode())
    whole = picture("gunduz-0", "street").data
    _write_new(folder / "gunduz" / "yarım.jpg", whole[: len(whole) // 2])
    _write_new(folder / "gece" / "sayfa.jpg", b"<html><body>404</body></html>")
    _write_new(folder / "gece" / "kopya.jpg", whole)


def _icons(folder: Path) -> None:
    for number in range(30):
        made = picture(f"icon-{number}", "tower", fmt=("PNG", "WEBP")[number % 2], size=(96, 96))
        _write_new(folder / made.name, made.data)
    _write_new(folder / "tiny.png", picture("tiny", "tower", fmt="PNG", size=(48, 48)).data)


def _url_list(path: Path, site: ImageSite) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["url", "caption", "photographer"])
        for number in range(120):
            writer.writerow([site.url_of("garden", number), f"Bahçe {number}", f"Ali {number % 7}"])
        writer.writerow([site.url_of("garden", 0), "Bahçe 0", "Ali 0"])


def _write_sources(folder: DemoFolder, name: str, sources: list[dict[str, Any]]) -> None:
    _write(folder.catalog / "sources" / name, {"sources": sources}, entries_line("sources"))


def _write(path: Path, content: dict[str, Any], schema: str) -> None:
    """`schema`: the line by which editors find what may stand in it."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    path.write_text(f"{schema}\n{text}", "utf-8")


def _write_new(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(content)
