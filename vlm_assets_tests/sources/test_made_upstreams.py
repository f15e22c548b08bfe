"""The first ledger of every kind over upstreams made at random: listed, then fetched to the last member."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import reject
from hypothesis import strategies as st

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.demo.services.github import GitHubService
from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.kaggle import KaggleService
from vlm_assets.pdf.records import Document
from vlm_assets.settings import Settings
from vlm_assets.sources import (
    client_folder,
    github_release,
    hf_dataset,
    hf_disk,
    hf_image_urls,
    kaggle,
    newspapers,
    pdf_folder,
)
from vlm_assets.sources.protocol import Source
from vlm_assets.spiders.model import Issue, Title
from vlm_assets.words.errors import Reject, SourceError
from vlm_assets.words.layout import nfc
from vlm_assets.words.records import Record, RecordImage
from vlm_assets_tests.archives.made import raw_zip
from vlm_assets_tests.captions.kit import parquet
from vlm_assets_tests.sources.kit import (
    COMMON,
    Fetched,
    canonical,
    fetch_context,
    list_context,
    settings_of,
)
from vlm_assets_tests.sources.made_upstreams import (
    IMAGE,
    NAMED,
    OF_IMAGES,
    Tree,
    check_fetched,
    check_listed,
    files_of,
    inside_of,
    of_many,
    trees,
)

FEW = pytest.mark.parametrize("examples", [12, pytest.param(300, marks=pytest.mark.slow)])
REFUSED = re.compile(
    r"no data file in a format|no image column found|no column 'image'|no data files found"
    r"|there is no metadata|none of \d+ caption rows names a file"
)
"""What is refused as a whole: no data by the rules of `datasets`, no table where one is asked for, one of nothing."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_of(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_TOKEN", "GITHUB_TOKEN"):
            patch.delenv(name, raising=False)
        yield patch


@pytest.fixture(scope="module")
def hub(patch: pytest.MonkeyPatch) -> Iterator[HubService]:
    with HubService() as service:
        patch.setenv("HF_ENDPOINT", service.url)
        yield service


@pytest.fixture(scope="module")
def kaggle_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KaggleService]:
    nowhere = str(tmp_path_factory.mktemp("home"))
    with KaggleService() as service, pytest.MonkeyPatch.context() as proxied:
        for name, value in {
            **service.environment(), "KAGGLE_CONFIG_DIR": nowhere, "HOME": nowhere,
        }.items():  # fmt: skip
            proxied.setenv(name, value)
        for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
            proxied.delenv(name, raising=False)
        yield service


@pytest.fixture(scope="module")
def github(patch: pytest.MonkeyPatch) -> Iterator[GitHubService]:
    with GitHubService() as service:
        patch.setenv("GITHUB_API_URL", service.api_url)
        yield service


def hold(
    source: Source[Any],
    spec: SourceSpec,
    settings: Settings,
    files: Sequence[str],
    inside: Mapping[str, Sequence[str]],
) -> None:
    """Lists and fetches everything, and holds both against the walk."""
    with TemporaryDirectory() as base:
        folder = Path(base)
        try:
            listed = source.list(spec, list_context(folder, settings))
            check_listed(listed, files, NAMED)
            for one in listed.slices:
                context = fetch_context(folder, listed, one.name, settings)
                fetched = Fetched(source.fetch(spec, canonical(one), context))
                check_fetched(fetched, {item.key: inside.get(item.key, [item.key]) for item in one.items})
        except SourceError as error:
            if REFUSED.search(str(error)) is None:
                raise
            reject()


WORDS: tuple[dict[str, Any], ...] = ({}, {"text": "metadata"}, {"text": "sidecar"}, {"text": "none"})
GLOBS: tuple[dict[str, Any], ...] = (
    {}, {}, {"include": ["*.jpg", "*.zip"]}, {"exclude": ["in/*"]}, {"include": ["in/*", "keep.jpg"]},
)  # fmt: skip


@FEW
def test_a_client_folder(settings: Settings, examples: int) -> None:
    def check(tree: Tree, words: dict[str, Any], globs: dict[str, Any]) -> None:
        files = {**files_of(tree), "keep.jpg": IMAGE}
        with TemporaryDirectory() as folder:
            put(Path(folder), files)
            keys = {**COMMON, "kind": "client_folder", "path": folder, **words, **globs}
            keys["text"] = {"metadata": "metadata.csv"}.get(words.get("text", ""), words.get("text", "none"))
            spec = client_folder.ClientFolderSpec.model_validate(keys)
            hold(client_folder.SOURCE, spec, settings, list(files), inside_of(tree))

    of_many(examples, check, tree=trees(depth=2), words=st.sampled_from(WORDS), globs=st.sampled_from(GLOBS))


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@FEW
def test_an_archive_of_kaggle(kaggle_api: KaggleService, settings: Settings, examples: int) -> None:
    def check(tree: Tree, words: dict[str, Any], globs: dict[str, Any], again: int) -> None:
        files = [*files_of(tree).items(), ("keep.jpg", IMAGE)]
        files += files[:again]
        kaggle_api.add("org/pets", raw_zip([(name.encode(), data) for name, data in files], flags=0x800))
        spec = kaggle.KaggleSpec(**{**COMMON, "kind": "kaggle", "handle": "org/pets", **words, **globs})
        hold(kaggle.SOURCE, spec, settings, [name for name, _ in files], inside_of(tree))

    of_many(
        examples, check, tree=trees(depth=2), words=st.sampled_from(WORDS), globs=st.sampled_from(GLOBS),
        again=st.integers(0, 1),
    )  # fmt: skip


@FEW
def test_the_assets_of_a_release(github: GitHubService, settings: Settings, examples: int) -> None:
    def check(tree: Tree, words: dict[str, Any], wanted: Sequence[str]) -> None:
        flat = {name.rpartition("/")[2].replace("ışık", "light"): what for name, what in tree.items()}
        files = {**files_of(flat), "keep.jpg": IMAGE}
        github.release("org/pics", "v1", files)
        keys = {**COMMON, "kind": "github_release", "repo": "org/pics", "assets": wanted, **words}
        spec = github_release.GithubReleaseSpec(**keys)
        github.releases["org/pics"] = github.releases["org/pics"][-1:]
        hold(github_release.SOURCE, spec, settings, list(files), inside_of(flat))

    of_many(
        examples, check, tree=trees(depth=2), words=st.sampled_from(WORDS),
        wanted=st.sampled_from((("*",), ("*",), ("*.zip", "*.jpg"))),
    )  # fmt: skip


TABLE = parquet({"url": [f"http://127.0.0.1/{name}" for name in "aba"], "image": [IMAGE] * 3})
PACKED: Tree = {"p/a.jpg": IMAGE, "p/notes.md": b"n", "b": IMAGE}
SAMPLES: Tree = {"a.jpg": IMAGE, "a.txt": b"bir", "b.jpg": IMAGE}
REPOSITORIES: dict[str, Tree] = {
    "loose": {"keep.jpg": IMAGE},
    "of_splits": {"train/keep.jpg": IMAGE, "test/keep.png": IMAGE},
    "archives": {"x.zip": ("zip", PACKED), "y.zip": ("zip", PACKED)},
    "one_archive": {"in/x.zip": ("zip", PACKED)},
    "tars": {"train-0.tar": ("tar", SAMPLES), "train-1.tar": ("tar", SAMPLES)},
    "tars_of_a_table": {
        "train/0.tar": ("tar", {"a.jpg": IMAGE, "b.jpg": IMAGE}),
        "train/1.tar": ("tar", SAMPLES),
        "train/metadata.csv": b"file_name,text\n0/a.jpg,bir\n1/b.jpg,iki\ngone.jpg,son\n",
    },
    "tars_of_masks": {
        "s/t-0.tar": ("tar", {"a.jpg": IMAGE, "a.seg.png": IMAGE}),
        "s/metadata.csv": b"id,n\n1,2\n",
        "metadata.jsonl": b'{"file_name": "s/t-0.tar/a.jpg", "text": "bir"}',
    },
}


@FEW
def test_a_repository(hub: HubService, settings: Settings, examples: int) -> None:
    def check(tree: Tree, shape: str, words: dict[str, Any]) -> None:
        made = {name: what for name, what in tree.items() if not name.startswith(("train/", "test/"))}
        made |= REPOSITORIES[shape]
        files = files_of(made)
        hub.add("org/set", files)
        spec = hf_dataset.HfDatasetSpec(**{**COMMON, "kind": "hf_dataset", "repo": "org/set", **words})
        hold(hf_dataset.SOURCE, spec, settings, list(files), inside_of(made))

    of_many(
        examples, check, tree=trees(depth=2), shape=st.sampled_from(sorted(REPOSITORIES)),
        words=st.sampled_from(WORDS),
    )  # fmt: skip


CARDS = (
    "- config_name: a\n  data_files: '**/*.jpg'\n- config_name: b\n  data_files: [{split: train, path: 'in/*'}]",
    "- config_name: a\n  data_dir: in\n- config_name: b\n  data_files: keep.jpg",
    "- config_name: a\n  data_files: [{split: one, path: 'in/*'}, {split: two, path: ['in/*.jpg', 'keep.jpg']}]",
)


@FEW
def test_the_splits_of_a_repository(hub: HubService, settings: Settings, examples: int) -> None:
    """As a README declares them: a file that several have is an item of each."""

    def check(tree: Tree, card: str, keys: dict[str, Any]) -> None:
        made = {**files_of(tree), "README.md": f"---\nconfigs:\n{card}\n---\n".encode()}
        files = {**made, "in/keep.jpg": IMAGE, "keep.jpg": IMAGE}
        hub.add("org/set", files)
        spec = hf_dataset.HfDatasetSpec(**{**COMMON, "kind": "hf_dataset", "repo": "org/set", **keys})
        with TemporaryDirectory() as base:
            listed = hf_dataset.SOURCE.list(spec, list_context(Path(base), settings))
        items = [item.key for one in listed.slices for item in one.items if item.key in files]
        check_listed(listed, list(files), NAMED, again=len(items) - len(set(items)))

    keys = st.sampled_from(({}, {"configs": ["a"]}, {"text": "sidecar"}))
    of_many(examples, check, tree=trees(depth=0), card=st.sampled_from(CARDS), keys=keys)


ROWS = st.lists(st.sampled_from([f"http://127.0.0.1/{name}" for name in "abcd"]), max_size=6)


@FEW
def test_lists_in_a_repository(hub: HubService, settings: Settings, examples: int) -> None:
    """A row is a thing of its own: an item, or a further row of one."""

    def check(tree: Tree, rows: list[list[str]]) -> None:
        lists = {
            f"data/train-{number:05}-of-{len(rows):05}.parquet": [*urls, "http://127.0.0.1/z"]
            for number, urls in enumerate(rows)
        }
        others = list(files_of(tree))
        hub.add("org/set", files_of(tree) | {name: parquet({"url": urls}) for name, urls in lists.items()})
        spec = hf_image_urls.HfImageUrlsSpec(**{**COMMON, "kind": "hf_image_urls", "repo": "org/set"})
        with TemporaryDirectory() as base:
            listed = hf_image_urls.SOURCE.list(spec, list_context(Path(base), settings))
            others += [f"{name}#{number}" for name, urls in lists.items() for number in range(len(urls))]
            assert check_listed(listed, others) == len({url for urls in lists.values() for url in urls})

    of_many(examples, check, tree=trees(depth=0), rows=st.lists(ROWS, min_size=1, max_size=3))


def is_sound(name: str, what: Any) -> bool:
    return what in OF_IMAGES.values() or not name.endswith(tuple(OF_IMAGES))


@FEW
def test_rows_of_data_files(settings: Settings, examples: int) -> None:
    """Rows without an image are rejects, not fewer rows. A damaged data file is refused: all are to be images."""

    def check(tree: Tree, rows: list[list[bytes | None]]) -> None:
        tables = {
            f"t{number}.parquet": parquet({"image": [IMAGE, *images]}) for number, images in enumerate(rows)
        }
        sound = {name: what for name, what in tree.items() if is_sound(name, what)}
        files = {**files_of(sound), **tables}
        with TemporaryDirectory() as folder:
            put(Path(folder), files)
            keys = {**COMMON, "kind": "hf_disk", "path": folder, "image_column": "image"}
            spec = hf_disk.HfDiskSpec.model_validate(keys)
            inside = {name: ["row"] * (len(images) + 1) for name, images in zip(tables, rows, strict=True)}
            hold(hf_disk.SOURCE, spec, settings, list(files), inside_of(sound) | inside)

    images = st.lists(st.sampled_from((IMAGE, None, b"")), max_size=4)
    of_many(examples, check, tree=trees(depth=1), rows=st.lists(images, min_size=1, max_size=3))


@pytest.fixture
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each document is one page: what a worker makes of it has its own tests, and costs a second a start."""

    def page_records(documents: Iterable[Document | Reject], *_: Any) -> Iterator[Record | Reject]:
        for one in documents:
            if isinstance(one, Reject):
                yield one
            else:
                page = RecordImage(one.path.read_bytes())
                yield Record(one.item, 0, f"{one.item}#page=1", [page], f"{one.name}#page=1")

    monkeypatch.setattr("vlm_assets.pdf.records.page_records", page_records)


@pytest.mark.usefixtures("no_workers")
@FEW
def test_documents_in_archives(settings: Settings, examples: int) -> None:
    """Beside whatever else: images and tables of captions are none."""

    def check(tree: Tree) -> None:
        made: Tree = {**tree, "x.zip": ("zip", {"keep.pdf": b"%PDF-1.7\n", **tree})}
        with TemporaryDirectory() as folder:
            put(Path(folder), files_of(made))
            spec = pdf_folder.PdfFolderSpec.model_validate({**COMMON, "kind": "pdf_folder", "path": folder})
            hold(pdf_folder.SOURCE, spec, settings, list(files_of(made)), inside_of(made))

    of_many(examples, check, tree=trees(depth=2))


ISSUES = st.lists(
    st.builds(Issue, st.sampled_from([f"http://127.0.0.1/{n}.pdf" for n in range(6)]),
              st.sampled_from(("1934", "1935", "")), st.just("1 Mart"), st.sampled_from((None, "1936-03-01"))),
    max_size=8,
).map(tuple)  # fmt: skip


@FEW
def test_issues_of_titles(settings: Settings, monkeypatch: pytest.MonkeyPatch, examples: int) -> None:
    """The titles are made; how pages of an archive become titles, the spiders' own tests tell."""

    def check(made: list[tuple[Any, int]], years: tuple[int, int] | None) -> None:
        titles = [Title(f"t{n}", f"T {n}", issues, missing) for n, (issues, missing) in enumerate(made)]
        monkeypatch.setattr(newspapers, "crawl", lambda *_, **__: titles)
        keys = {**COMMON, "kind": "newspapers", "years": years, "base_url": "http://127.0.0.1/"}
        spec = newspapers.NewspapersSpec.model_validate(keys)
        with TemporaryDirectory() as base:
            try:
                listed = newspapers.SOURCE.list(spec, list_context(Path(base), settings))
            except SourceError as error:
                if "no issue of" not in str(error):
                    raise
                reject()
        names = [
            nfc(issue.url.removeprefix("http://127.0.0.1/")) for title in titles for issue in title.issues
        ]
        without = [f"{title.slug}#without-link={n}" for title in titles for n in range(title.without_link)]
        check_listed(listed, [*names, *without])

    years = st.sampled_from((None, (1934, 1935)))
    of_many(examples, check, made=st.lists(st.tuples(ISSUES, st.integers(0, 2)), max_size=4), years=years)
