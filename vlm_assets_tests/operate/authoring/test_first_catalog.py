"""From nothing to a catalogue: `init`, `add`, and what editors and people are told of keys."""

import json
import re
import socket
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest
import yaml
from dotenv import dotenv_values
from typer.testing import CliRunner, Result

from vlm_assets.cli import app
from vlm_assets.ingest.listing import refresh_listing
from vlm_assets.installation.load import catalog_problems, load_catalog, parse_catalog
from vlm_assets.installation.opening import open_installation
from vlm_assets.operate.authoring.quotas import FILL_IN
from vlm_assets.operate.authoring.scalars import scalar
from vlm_assets.operate.authoring.schemas import benchmarks_schema, sources_schema
from vlm_assets.settings import PROFILES
from vlm_assets.words.errors import ConfigError, SourceError
from vlm_assets_tests.workplace import fill


@pytest.fixture
def catalog(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    result = call("init", "data", "--catalog", "catalog")
    assert result.exit_code == 0, result.output
    monkeypatch.setenv("VLM_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("VLM_CATALOG", str(tmp_path / "catalog"))
    return Path(tmp_path / "catalog")


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def entry_of(catalog: Path, name: str) -> dict[str, object]:
    (entry,) = yaml.safe_load((catalog / "sources" / f"{name}.yaml").read_text("utf-8"))["sources"]
    return dict(entry)


def test_the_first_catalogue_is_sound_and_its_schemas_are_where_it_says(catalog):
    assert catalog_problems(catalog) == []
    result = call("check")
    assert result.exit_code == 0, result.output
    for file in (catalog / "corpus.yaml", catalog / "sources/example.yaml"):
        (schema,) = [line.split("$schema=")[1] for line in file.read_text("utf-8").splitlines()[:1]]
        assert (file.parent / schema).is_file()


def test_a_catalogue_without_sources_says_so_and_builds_nothing(catalog):
    told = "no source is enabled: vlm-assets add KIND WHERE"
    for line in ("check", "plan", "check --json", "plan --json"):
        result = call(*line.split())
        assert (result.exit_code, told in result.output) == (0, True), result.output
        assert "will end with" not in result.output
    for line in ("build", "build --target full", "build --test-mode"):
        result = call(*line.split())
        assert isinstance(result.exception, ConfigError)
        assert told in str(result.exception)
    assert not (catalog.parent / "data/corpora").exists()
    assert not (catalog.parent / "data-test").exists()


@pytest.mark.usefixtures("catalog")
def test_dagster_finds_the_commands_instance_and_what_to_load():
    """In the folder where `init` was called, as `dagster dev` reads it."""
    env = dotenv_values(".env")
    home = Path(str(env["DAGSTER_HOME"]))
    assert home == Path(str(env["VLM_DATA_ROOT"])) / ".dagster"
    assert yaml.safe_load((home / "dagster.yaml").read_text("utf-8"))["run_coordinator"]
    (loaded,) = yaml.safe_load(Path("workspace.yaml").read_text("utf-8"))["load_from"]
    assert find_spec(loaded["python_module"]["module_name"])
    Path("workspace.yaml").write_text("load_from: []\n", "utf-8")
    assert call("init", "data", "--catalog", "second").exit_code == 0
    assert Path("workspace.yaml").read_text("utf-8") == "load_from: []\n"


def test_nothing_is_written_over(catalog):
    before = (catalog / "corpus.yaml").read_bytes()
    result = call("init", "other", "--catalog", str(catalog))
    assert isinstance(result.exception, ConfigError)
    assert "stays as it is; name a new folder" in str(result.exception)
    assert (catalog / "corpus.yaml").read_bytes() == before
    assert not Path("other").exists()


def test_a_second_init_of_the_same_says_that_nothing_is_wrong(catalog):
    before = {path: path.read_bytes() for path in (catalog / "corpus.yaml", Path(".env"))}
    result = call("init", "data", "--catalog", "catalog")
    assert result.exit_code == 0, result.output
    assert "already, and stay as they are" in result.output
    assert "vlm-assets add KIND WHERE adds a source; vlm-assets plan shows" in result.output
    assert ".env" not in result.output
    assert {path: path.read_bytes() for path in before} == before


def photos(base: Path) -> str:
    fill(base / "night", 2)
    fill(base / "day", 1, start=5)
    return str(base)


def with_captions(base: Path) -> str:
    fill(base, 2)
    (base / "0000.txt").write_text("a street")
    return str(base)


def with_table(name: str, rows: Sequence[str]) -> Callable[[Path], str]:
    """A folder of two images, and a table."""

    def make(base: Path) -> str:
        fill(base, 2)
        (base / name).write_text("\n".join(rows) + "\n")
        return str(base)

    return make


def packed(base: Path) -> str:
    base.mkdir()
    with ZipFile(base / "photos.zip", "w") as archive:
        archive.write(fill(base / "x", 1) / "0000.jpeg", "a.jpg")
    return str(base / "photos.zip")


def listed(base: Path) -> str:
    path = base.with_suffix(".csv")
    path.write_text("url,caption,label\nhttp://a.example/1.jpg,one,kedi\nhttp://a.example/2.jpg,two,köpek\n")
    return str(path)


def documents(base: Path) -> str:
    base.mkdir()
    (base / "a.pdf").write_bytes(b"%PDF-1.7")
    return str(base)


@pytest.mark.parametrize(
    ("kind", "make", "words", "expected"),
    [
        pytest.param("client_folder", with_captions, [], {"subcategory": "all", "text": "sidecar"}, id="words"),
        pytest.param(
            "client_folder", with_table("words.csv", ["file_name,caption", "0000.jpeg,a", "0001.jpeg,b"]), [],
            {"text": "words.csv"}, id="table",
        ),
        pytest.param(
            "client_folder", with_table("w.tsv", ["n\tid\tcaption", "1\t0000\ta", "1\t0001\tb"]), [],
            {"text": "w.tsv", "file_name_column": "id"}, id="table of ids",
        ),
        pytest.param(
            "client_folder", with_table("w.jsonl", ['{"img": "0001.jpeg", "words": "a"}']), [],
            {"text": "w.jsonl", "file_name_column": "img"}, id="table in JSON lines",
        ),
        pytest.param(
            "client_folder", photos, ["--category", "city"],
            {"subcategory_from": {"folder": 1, "map": {"day": "day", "night": "night"}}}, id="folders",
        ),
        pytest.param("client_folder", packed, ["--name", "zipped"], {"include": ["photos.zip"]}, id="archive"),
        pytest.param(
            "image_urls", listed, ["--category", "web"],
            {"url_column": "url", "text_column": "caption",
             "subcategory_from": {"column": "label", "map": {"kedi": "kedi", "köpek": "kopek"}}}, id="list",
        ),
        pytest.param("pdf_folder", documents, ["--licence", "CC0-1.0"], {"licence": "CC0-1.0"}, id="documents"),
    ],
)  # fmt: skip
def test_a_source_is_looked_at_and_its_entry_fits(catalog, tmp_path, kind, make, words, expected):
    result = call("add", kind, make(tmp_path / "place"), *words)
    assert result.exit_code == 0, result.output
    name = words[1] if "--name" in words else "place"
    assert expected.items() <= entry_of(catalog, name).items()
    assert not (catalog / "sources/example.yaml").exists()
    jsonschema.validate({"sources": [entry_of(catalog, name)]}, sources_schema())
    assert "quotas are equal shares of all sources until you edit them" in result.output
    assert catalog_problems(catalog) == []


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "filled in, to be looked at: category: images, subcategory: all, licence: unknown"),
        (["--category", "photos"], "filled in, to be looked at: subcategory: all, licence: unknown"),
        (["--category", "p", "--subcategory", "s", "--licence", "nope"], "'nope' is no SPDX id"),
    ],
)
def test_what_nobody_said_is_to_be_looked_at(tmp_path, words, told):
    result = call("add", "client_folder", str(fill(tmp_path / "place", 1)), *words)
    assert told in result.output
    assert ("filled in" in told) == ("filled in" in result.output)


@pytest.mark.usefixtures("catalog")
def test_what_will_fail_a_listing_is_told_before_it(tmp_path):
    place = fill(tmp_path / "place", 2)
    for name in ("a.xmp", "b.XMP", "c.fli", "stats.csv"):
        (place / name).write_text("x,y\n1,2\n")
    result = call("add", "client_folder", str(place))
    assert (
        "3 of 5 files are of no kind that is read (2 .xmp, 1 .fli): more than reject_tolerance 0.05, or "
        "3 that are at most a third allows" in (result.output)
    )
    assert "say text: stats.csv" in result.output
    told = call("plan").output.replace("\n", " ")
    assert (
        "not in here: place: tables beside the images may hold their captions: say text: stats.csv. 3 of 5 "
        in told
    )
    assert "old listing" not in told


def test_what_a_list_lacks_is_told_before_it_is_fetched(catalog, tmp_path):
    """Private hosts, a licence that nobody knows; a column that is gone though the list was listed before."""
    place = tmp_path / "urls.csv"
    place.write_text("link,text\nhttp://127.0.0.1:9/1.jpg,one\nhttp://127.0.0.1:9/2.jpg,two\n")
    told = call("add", "image_urls", str(place), "--licence", "proprietry").output
    hint = "2 URLs lead to private hosts which are asked only if .env says that they are yours: "
    assert f"{hint}VLM_ALLOW_PRIVATE_HOSTS=127.0.0.1" in told
    assert "did you mean proprietary?" in told
    checked = call("check")
    assert checked.exit_code == 0
    assert "did you mean proprietary?" in checked.output
    installation = open_installation()
    refresh_listing(installation, installation.catalog.source("urls"))
    planned = call("plan")
    assert planned.exit_code == 0
    assert hint in planned.output.replace("\n", " ")
    place.write_text(place.read_text().replace("link", "adres"))
    entry = catalog / "sources/urls.yaml"
    entry.write_text(entry.read_text().replace("url_column: link", "url_column: links"))
    assert "url_column: no column 'links'" in call("plan").output.replace("\n", " ")


def test_a_hub_out_of_reach_says_so_at_once_and_what_to_do(catalog, monkeypatch, caplog):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("VLM_ALLOW_PRIVATE_HOSTS", "127.0.0.1")
    monkeypatch.setattr("vlm_assets.hub.client.time.sleep", lambda _: None)
    told = str(call("add", "hf_dataset", "owner/name").exception)
    assert re.search(r"Tried \d+ times in \d+ s; is http://127\.0\.0\.1:\d+ within reach\?", told)
    assert "HF_ENDPOINT" in told
    assert "hf_disk" in told
    assert [one.levelname for one in caplog.records if "does not answer" in one.message] == ["WARNING"]
    assert not (catalog / "sources/name.yaml").exists()


def test_a_path_is_written_plainly_and_a_fault_names_the_source(catalog, tmp_path):
    (tmp_path / "far/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far/deep")
    fill(tmp_path / "in", 1)
    fill(tmp_path / "far/in2", 1)
    assert call("add", "client_folder", str(tmp_path / "far/../in")).exit_code == 0
    assert entry_of(catalog, "in")["path"] == str(tmp_path / "in")
    assert call("add", "client_folder", str(tmp_path / "link/../in2")).exit_code == 0
    assert entry_of(catalog, "in2")["path"] == str(tmp_path / "link/../in2")
    (tmp_path / "bare").mkdir()
    told = str(call("add", "hf_disk", str(tmp_path / "bare"), "--name", "mine").exception)
    assert "source look" not in told
    assert "source mine" in told


def add_each(base: Path, *words: str) -> list[str]:
    """Output of `add` for one folder of pictures a word or path, `category/subcategory`."""
    told = []
    for number, word in enumerate(words):
        category, _, subcategory = word.partition("/")
        place = str(fill(base / f"{base.name}{number}", 1, start=number))
        chosen = ["--subcategory", subcategory] if subcategory else []
        result = call("add", "client_folder", place, "--category", category, *chosen)
        assert result.exit_code == 0, result.output
        told.append(result.output)
    return told


def quotas_of(catalog: Path) -> dict[str, object]:
    return dict(yaml.safe_load((catalog / "corpus.yaml").read_text("utf-8"))["quotas"])


def test_until_somebody_edits_them_quotas_are_equal_shares_of_all_sources(catalog, tmp_path):
    add_each(tmp_path, "photos/street/night", "photos/web", "scans", "no")
    assert catalog_problems(catalog) == []
    street = {"share": "1/2", "subcategories": {"night": {"share": 1}}}
    assert quotas_of(catalog) == {
        "no": {"share": "1/3", "subcategories": {"all": {"share": 1}}},
        "photos": {"share": "1/3", "subcategories": {"street": street, "web": {"share": "1/2"}}},
        "scans": {"share": "1/3", "subcategories": {"all": {"share": 1}}},
    }
    text = (catalog / "corpus.yaml").read_text("utf-8")
    (catalog / "corpus.yaml").write_text(text.replace("seed: 20260115", "seed: 7"), "utf-8")
    add_each(tmp_path / "more", "maps")
    assert quotas_of(catalog).keys() == {"maps", "no", "photos", "scans"}
    assert "seed: 7" in (catalog / "corpus.yaml").read_text("utf-8")


def edit(catalog: Path, old: str, new: str) -> None:
    """Another text in `corpus.yaml`."""
    text = (catalog / "corpus.yaml").read_text("utf-8")
    assert old in text
    (catalog / "corpus.yaml").write_text(text.replace(old, new), "utf-8")


def test_edited_quotas_stay_and_each_source_tells_its_own_alone(catalog, tmp_path):
    add_each(tmp_path, "photos/street")
    edit(catalog, "street: {share: 1}", "street: {share: 1, max: 9}")
    before = quotas_of(catalog)
    first, second = add_each(tmp_path / "more", "photos/web", "maps/old")
    assert quotas_of(catalog) == before
    assert "under quotas.photos.subcategories:\n    web: {share: 1/2}\n" in first
    assert "shares of siblings sum to 1, other shares there: street: 1/2\n" in first
    assert "under quotas:\n    maps: {share: 1/2, subcategories: {old: {share: 1}}}" in second
    assert "to do" not in first
    assert first.splitlines()[-1].startswith("not ready: vlm-assets check finds 1 problem: exit 2")
    assert "finds 2 problems, 1 of them from before: exit 2" in second.splitlines()[-1]
    assert "web" not in second


def test_a_leaf_that_is_also_a_node_is_told_instead(catalog, tmp_path):
    (_, second) = add_each(tmp_path, "photos/street", "photos/street/night")
    assert (
        "corpus.yaml lacks a quota for it, under quotas.photos.subcategories.street.subcategories:" in second
    )
    assert quotas_of(catalog) == {"photos": {"share": 1, "subcategories": {"street": {"share": 1}}}}


def test_a_benchmark_is_added_with_what_was_said(catalog, tmp_path):
    result = call("add", "client_folder", photos(tmp_path / "place"), "--benchmark", "--licence", "CC0-1.0")
    assert result.exit_code == 0, result.output
    text = (catalog / "benchmarks/place.yaml").read_text("utf-8")
    [entry] = yaml.safe_load(text)["benchmarks"]
    assert entry.keys() & {"category", "subcategory", "licence"} == {"licence"}
    jsonschema.validate({"benchmarks": [entry]}, benchmarks_schema())
    assert "../.schema/benchmarks.json" in text
    assert (catalog / "sources/example.yaml").exists()
    [spec] = parse_catalog(catalog).benchmarks
    assert (spec.name, spec.licence) == ("place", "CC0-1.0")


def test_labels_that_fit_no_subcategory_are_left_to_fill_in(catalog, tmp_path):
    edit(catalog, "all: {share: 1}", "night: {share: 1, max: 9}")
    assert call("add", "client_folder", photos(tmp_path / "place")).exit_code == 0
    rule = entry_of(catalog, "place")["subcategory_from"]
    assert rule == {"folder": 1, "map": {"day": FILL_IN, "night": "night"}}
    assert [problem.key for problem in catalog_problems(catalog)] == [
        "sources[0] (place).subcategory_from.map"
    ]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        pytest.param(["client_folder", "nowhere"], ConfigError, id="missing"),
        pytest.param(["pdf_folder", "photos"], SourceError, id="no PDFs"),
        pytest.param(["nothing", "photos"], ConfigError, id="no kind"),
        pytest.param(["client_folder", "photos", "--category", "My Photos"], ConfigError, id="no category"),
        pytest.param(["client_folder", "photos", "--subcategory", "a//b"], ConfigError, id="no subcategory"),
        pytest.param(["client_folder", "photos", "--name", "Çarşı"], ConfigError, id="no name"),
    ],
)
def test_what_does_not_fit_writes_nothing(catalog, tmp_path, words, error):
    fill(tmp_path / "photos", 1)
    before = sorted(catalog.rglob("*"))
    result = call("add", *words)
    assert isinstance(result.exception, error), result.output
    assert sorted(catalog.rglob("*")) == before


@pytest.mark.parametrize("text", ["no", "01", "1e3", "a: b", "#x", "", "çay", "-", "null", "plain/one.jpg"])
def test_a_scalar_reads_back_as_it_is(text):
    assert yaml.safe_load(f"- {scalar(text)}") == [text]


def fits_the_schema_it_names(path: Path) -> bool:
    text = path.read_text("utf-8")
    head, _, schema = text.splitlines()[0].partition("$schema=")
    made = json.loads((path.parent / schema).read_text("utf-8"))
    return head == "# yaml-language-server: " and jsonschema.validators.validator_for(made)(made).is_valid(
        yaml.safe_load(text)
    )


def test_every_file_names_the_schema_that_it_fits(catalog, tmp_path):
    seen = {path: fits_the_schema_it_names(path) for path in catalog.rglob("*.yaml")}
    fill(tmp_path / "photos", 1)
    for words in ([], ["--benchmark", "--name", "kept"]):
        assert call("add", "client_folder", "photos", *words).exit_code == 0
    for path in (*catalog.rglob("*.yaml"), *PROFILES.glob("*.yaml")):
        seen[path] = fits_the_schema_it_names(path)
    names = {"aws", "corpus", "example", "kept", "local", "photos"}
    assert ({path.stem for path in seen}, set(seen.values())) == (names, {True})
    assert load_catalog(catalog).sources
