import re
from fractions import Fraction
from pathlib import Path

import pytest

from vlm_assets.catalog.spec import CorpusSpec, parse_size
from vlm_assets.images.facts import FORMATS
from vlm_assets.installation.load import catalog_problems, load_catalog
from vlm_assets.words.errors import ConfigError
from vlm_assets_tests.workplace import CORPUS, STREET, fill, write_catalog


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_catalog(folder)
    return [str(problem) for problem in caught.value.problems]


def test_a_catalogue_loads_frozen_with_exact_shares_and_absolute_paths(tmp_path):
    fill(tmp_path / "catalog" / "photos", 1)
    write_catalog(tmp_path / "catalog", {**STREET, "path": "photos"})
    (tmp_path / "catalog" / "corpus.yaml").write_text(
        "{name: a, seed: 1, targets: {1k: 1000}, quotas: {photos: {share: 1, subcategories:"
        " {street: {share: 0.1}, sea: {share: 0.2}, sky: {share: 7/10}}}}}"
    )
    (tmp_path / "catalog" / "sources" / "b.yaml").write_text(
        "sources:\n- {name: b, kind: client_folder, category: photos, licence: MIT, path: .,"
        " subcategory_from: {folder: 1, map: {0: sea, 1: sky}}}"
    )
    catalog = load_catalog(tmp_path / "catalog")
    shares = [n.share for n in catalog.corpus.quotas["photos"].subcategories.values()]
    assert shares == [Fraction(1, 10), Fraction(1, 5), Fraction(7, 10)]
    assert catalog.source("street").path == tmp_path / "catalog" / "photos"  # type: ignore[attr-defined]  # a kind's key
    assert catalog.source("b").subcategory_of("0") == "sea"
    assert catalog.source("b").subcategory_of("2") is None
    assert catalog_problems(tmp_path / "catalog") == []


def test_every_fault_is_told_at_once_with_file_and_key(tmp_path):
    folder = write_catalog(
        tmp_path,
        {**STREET, "path": "/nowhere", "speling": 1},
        {k: v for k, v in STREET.items() if k != "licence"} | {"name": "bare", "path": "x"},
        {**STREET, "name": "twice", "path": "x"},
        {**STREET, "name": "twice", "path": "y"},
        {**STREET, "name": "lost", "path": "x", "category": "paintings"},
        {**STREET, "name": "sub", "path": "x", "subcategory": "market"},
        {**STREET, "name": "odd", "kind": "ftp", "path": "x"},
        corpus={
            "typo": True,
            "quotas": {
                "photos": {"share": 0.7, "subcategories": {"street": {"share": 1}, "night": {"count": 5}}},
                "empty": {"share": 0.2},
            },
            "refresh_targets": ["9m"],
            "dedup": {"precedence": ["nobody"]},
        },
    )
    text = "\n".join(f"{one.file}: {one.key}: {one.message}" for one in catalog_problems(folder))
    assert set(map(str, catalog_problems(folder))) > set(problems_of(folder))
    assert "sources/all.yaml: sources[0] (street).path: /nowhere does not exist" in text
    assert "sources/all.yaml: sources[0] (street).speling: unknown key" in text
    assert "sources/all.yaml: sources[1] (bare).licence: missing" in text
    assert "sources/all.yaml: sources[3] (twice).name: 'twice' is taken by" in text
    assert "sources/all.yaml: sources[6] (odd).kind: no kind 'ftp'; there are: client_folder" in text
    assert "corpus.yaml: typo: unknown key" in text
    assert "corpus.yaml: quotas: shares sum to 9/10" in text
    assert "corpus.yaml: quotas.empty: a category needs subcategories" in text
    assert "corpus.yaml: quotas.photos.subcategories.night: no source gives this" in text
    assert "corpus.yaml: refresh_targets: no target '9m'; there are: 10, 1k, 20" in text
    assert "corpus.yaml: dedup.precedence: no source 'nobody'" in text
    assert "sources/all.yaml: sources[4] (lost).category: 'paintings' has no quota" in text
    assert "sources/all.yaml: sources[5] (sub).subcategory: photos/market has no quota" in text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param({"subcategory": None}, "exactly one of subcategory and", id="no subcategory"),
        pytest.param({"weight": "1/0"}, "expected a number", id="weight over zero"),
        pytest.param({"weight": -1}, "must not be negative", id="negative weight"),
        pytest.param(
            {"name": "Çarşı"},
            "expected lower-case letters without marks, digits and _, got 'Çarşı'",
            id="name with letters outside a-z",
        ),
        pytest.param({"reject_tolerance": 2}, "expected at most 1.0, got 2", id="tolerance over 1"),
        pytest.param({"subcategory_from": {"folder": 1}}, "exactly one of subcategory and", id="both"),
    ],
)
def test_a_bad_source_key_names_itself(tmp_path, change, told):
    write_catalog(tmp_path, {**STREET, "path": "x", **change})
    assert any(told in problem for problem in problems_of(tmp_path))


def test_a_fault_in_a_key_is_no_fault_of_the_rest_of_it(tmp_path):
    write_catalog(tmp_path, {**STREET, "path": "x"}, corpus={"targets": {"10": "many"}})
    assert problems_of(tmp_path) == [
        "corpus.yaml:10:3: targets.10: expected a number of rows, or all, got 'many'"
    ]


def test_where_no_catalogue_is_the_folder_is_named(tmp_path):
    assert problems_of(tmp_path)[0] == (
        f"corpus.yaml: missing in {tmp_path}; vlm-assets init FOLDER --catalog NEW writes a first catalogue"
    )


def test_formats_have_their_common_names_too():
    keys = {"name": "a", "seed": 1, "targets": {"t": 1}, "quotas": {"p": {"share": 1}}}
    assert "HEIF" in CorpusSpec.model_validate(keys).formats
    assert not {"JXL", "TGA", "PSD", "ICO"} & set(CorpusSpec.model_validate(keys).formats)
    named = CorpusSpec.model_validate({**keys, "formats": ["HEIC", "JPEGXL", "TGA", "HEIF"]})
    assert named.formats == ("HEIF", "JXL", "TGA")
    with pytest.raises(ValueError, match=r"unknown formats RAW; there are JPEG.*ICO"):
        CorpusSpec.model_validate({**keys, "formats": ["RAW"]})


@pytest.mark.parametrize(
    ("quotas", "told"),
    [
        pytest.param({"street": {"share": "1/3"}, "sea": {"share": 0.3333}}, "sum to 19999/30000", id="sum"),
        pytest.param({"street": {"share": 1, "count": 3}}, "exactly one of share and count", id="both"),
        pytest.param({"street": {"share": 1, "min": 5, "max": 4}}, "max 4 is below min 5", id="bounds"),
        pytest.param({"street": {}}, "exactly one of share and count", id="neither"),
    ],
)
def test_a_bad_quota_is_told(tmp_path, quotas, told):
    write_catalog(
        tmp_path,
        {**STREET, "path": "x"},
        corpus={"quotas": {"photos": {"share": 1, "subcategories": quotas}}},
    )
    assert any(told in problem for problem in problems_of(tmp_path))


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        pytest.param({"sharp": {"keep": "min(blur.laplacian) >= 30"}}, None, id="fine"),
        pytest.param({"sharp": {}}, "filters.sharp.keep: missing; it is mandatory", id="empty"),
        pytest.param({"sharp": {"keep": "a ="}}, "filters.sharp.keep: not an expression: ", id="syntax"),
        pytest.param(
            {"sharp": {"keep": "blur.laplacian >= 30"}},
            "filters.sharp.keep: `blur.laplacian >= 30` speaks of images, and a record may have several",
            id="of images",
        ),
        pytest.param(
            {"sharp": {"keep": "min(blur.laplac) >= 30"}},
            "filters.sharp.keep: no column 'blur.laplac'; did you mean blur.laplacian?",
            id="column",
        ),
        pytest.param(
            {"sharp": {"keep": "min(contrast.rms) >= 30"}},
            "filters.sharp.keep: the values of contrast are not among `annotations`; add `- {name: contrast}` there",
            id="not annotated",
        ),
        pytest.param(
            {"sharp": {"keep": "image_count > 1", "missing": "maybe"}},
            "filters.sharp.missing: expected keep, drop or error, got 'maybe'",
            id="missing",
        ),
        pytest.param(
            {"sharp": {"keep": "image_count > 1", "only": {"source": ["stret"]}}},
            "filters.sharp.only.source: no source 'stret'; did you mean street?",
            id="source",
        ),
        pytest.param({"Sharp!": {"keep": "true"}}, "filters.Sharp!: 'Sharp!' is no name", id="name"),
        pytest.param({"s": {"keep": "min(scores.x) > 1"}}, None, id="imported, which check looks at"),
    ],
)
def test_a_bad_filter_is_told_with_its_line(tmp_path, filters, told):
    annotations = [{"name": "blur"}, {"name": "scores", "path": "scores.parquet", "key": "id"}]
    write_catalog(tmp_path, {**STREET, "path": "x"}, corpus={"annotations": annotations, "filters": filters})
    if told is None:
        assert load_catalog(tmp_path).corpus.filters
        return
    [problem] = problems_of(tmp_path)
    assert told in problem
    assert re.match(r"corpus\.yaml:\d+:\d+: ", problem)


@pytest.mark.parametrize(
    ("precedence", "told"),
    [
        pytest.param(["street", "other"], [], id="each once"),
        pytest.param(["other"], [], id="not all are named"),
        pytest.param(
            ["street", "other", "street"],
            ["corpus.yaml: dedup.precedence: a source is named twice"],
            id="one twice",
        ),
        pytest.param(
            ["nobody", "nobody"],
            ["corpus.yaml: dedup.precedence: no source 'nobody'; there are: other, street"] * 2
            + ["corpus.yaml: dedup.precedence: a source is named twice"],
            id="twice and unknown",
        ),
    ],
)
def test_precedence_names_sources_that_exist_and_each_once(tmp_path, precedence, told):
    folder = write_catalog(
        tmp_path,
        {**STREET, "path": tmp_path},
        {**STREET, "name": "other", "path": tmp_path},
        corpus={"dedup": {"precedence": precedence}},
    )
    assert [f"{one.file}: {one.key}: {one.message}" for one in catalog_problems(folder)] == told


def test_weights_are_given_by_all_sources_of_a_subcategory_or_none(tmp_path):
    write_catalog(tmp_path, {**STREET, "path": "x", "weight": 2}, {**STREET, "name": "other", "path": "y"})
    assert any("(other).weight: missing" in problem for problem in problems_of(tmp_path))


def test_a_key_given_twice_is_an_error(tmp_path):
    write_catalog(tmp_path, {**STREET, "path": "x"})
    (tmp_path / "corpus.yaml").write_text("name: a\nname: b\n")
    assert any("'name' is given twice" in problem for problem in problems_of(tmp_path))


def test_the_hash_follows_the_content_not_the_writing(tmp_path):
    first = load_catalog(write_catalog(tmp_path, {**STREET, "path": "/x"})).hash
    text = (tmp_path / "corpus.yaml").read_text()
    (tmp_path / "corpus.yaml").write_text("# a comment\n" + text)
    assert load_catalog(tmp_path).hash == first
    changed = load_catalog(write_catalog(tmp_path, {**STREET, "path": "/x"}, corpus={"seed": 2})).hash
    assert changed != first


def test_missing_folders_are_told(tmp_path):
    folder = write_catalog(tmp_path, {**STREET, "path": "/nowhere/at/all"})
    told = "sources/all.yaml:6:3: sources[0] (street).path: /nowhere/at/all does not exist; is the volume mounted?"
    assert [str(problem) for problem in catalog_problems(folder)] == [told]
    assert load_catalog(folder).source("street").name == "street"


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2_000_000_000), ("32MiB", 32 * 2**20), ("1.5k", 1500), (7, 7), ("10 B", 10)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


def test_an_empty_corpus_yaml_is_told(tmp_path):
    write_catalog(tmp_path, {**STREET, "path": "x"})
    (tmp_path / "corpus.yaml").write_text("")
    assert any("expected a mapping" in problem for problem in problems_of(tmp_path))
    assert CORPUS["name"] == "small"


FAULTY = """\
name: x
seed: abc
targets: {200: 200}
refresh_targets: [2O0]
quotas:
  photos: {shre: 1, subcategories: {no: {share: 1}}}
dedup: {exact: imge}
shard: {max_bytes: 5 apples}
min_side_px: -3
formats: [RAW]
"""
FAULTY_SOURCE = """\
sources:
  - {name: a, kind: client_foldr}
  - name: b
    kind: client_folder
    category: photos
    subcategory_from: {folder: 1, map: {01: no, on: 01}}
    licence: 5
    path: /
    include: 5
    enabled: maybe
    hosts: {images.example.org: {cooldwn_s: 1}}
    multi_frame: page
"""


def test_every_fault_has_its_place_and_plain_words(tmp_path):
    (tmp_path / "sources").mkdir()
    (tmp_path / "corpus.yaml").write_text(FAULTY)
    (tmp_path / "sources/a.yaml").write_text(FAULTY_SOURCE)
    b = "sources[1] (b)"
    assert [str(one) for one in catalog_problems(tmp_path)] == [
        "corpus.yaml:2:1: seed: expected a whole number, got 'abc'",
        "corpus.yaml:6:12: quotas.photos.shre: unknown key; did you mean share?",
        "corpus.yaml:7:9: dedup.exact: expected record, image or none, got 'imge'; did you mean image?",
        "corpus.yaml:9:1: min_side_px: expected at least 0, got -3",
        f"corpus.yaml:10:1: formats: unknown formats RAW; there are {', '.join(FORMATS)}",
        "corpus.yaml:8:9: shard.max_bytes: expected a size such as 2GB or 32MiB, got '5 apples'",
        "sources/a.yaml:2:15: sources[0] (a).kind: no kind 'client_foldr'; did you mean client_folder?",
        f"sources/a.yaml:10:5: {b}.enabled: expected true or false, got 'maybe'",
        f"sources/a.yaml:12:5: {b}.multi_frame: expected first, pages or reject, got 'page'; did you mean pages?",
        f"sources/a.yaml:11:34: {b}.hosts.images.example.org.cooldwn_s: unknown key; did you mean cooldown_s?",
        f"sources/a.yaml:9:5: {b}.include: expected a list, got 5",
    ]


SEA_TOO = {"photos": {"share": 1, "subcategories": {"street": {"share": "1/2"}, "sea": {"share": "1/2"}}}}


@pytest.mark.parametrize(
    ("entries", "corpus", "more", "told"),
    [
        pytest.param(
            [{"kind": "client_foldr"}], {"dedup": {"precedence": ["street"]}}, "",
            ["sources[0] (street).kind: no kind 'client_foldr'; did you mean client_folder?"], id="kind",
        ),
        pytest.param([{"kind": None}], {}, "", ["sources[0] (street).kind: missing"], id="no kind"),
        pytest.param([{"category": "photo"}], {}, "",
                     ["sources[0] (street).category: 'photo' has no quota in corpus.yaml; did you mean photos?"],
                     id="category"),
        pytest.param([{"subcategory": "stret"}], {}, "",
                     ["sources[0] (street).subcategory: photos/stret has no quota in corpus.yaml; did you"],
                     id="subcategory"),
        pytest.param([{"name": "Çarşı"}], {}, "",
                     ["sources[0] (Çarşı).name: expected lower-case letters without marks, digits"],
                     id="name"),
        pytest.param([{"weight": "much"}, {"name": "other", "weight": 1}], {}, "",
                     ["sources[0] (street).weight: expected a number such as 0.7 or 1/3, got 'much'"], id="weight"),
        pytest.param([{}, {"subcategory": "sea"}], {"quotas": SEA_TOO}, "",
                     ["sources[1] (street).name: 'street' is taken by sources/all.yaml: sources[0] (street)"],
                     id="name twice"),
        pytest.param([{}], {"quotas": SEA_TOO}, "sources: [",
                     ["not YAML: while parsing a flow node, did not find expected node content"], id="file"),
        pytest.param([{}], {"quotas": SEA_TOO}, "source: []",
                     ["expected one key `sources` with a list of sources"], id="head"),
        pytest.param([{}], {"quotas": {"photos": 5}}, "",
                     ["quotas.photos: expected a mapping of keys, got 5"], id="quota"),
        pytest.param([{"kind": "ftp"}], {"quotas": SEA_TOO}, "",
                     ["sources[0] (street).kind: no kind 'ftp'; there are: ",
                      "quotas.photos.subcategories.sea: no source gives this"], id="what it does not hide"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_fault(tmp_path, entries, corpus, more, told):
    write_catalog(tmp_path, *({**STREET, "path": ".", **one} for one in entries), corpus=corpus)
    if more:
        (tmp_path / "sources" / "more.yaml").write_text(more, "utf-8")
    found = [problem.partition(": ")[2] for problem in problems_of(tmp_path)]
    assert [len(found), *(one.startswith(start) for one, start in zip(found, told, strict=False))] == [
        len(told), *(True for _ in told)
    ], found  # fmt: skip


def test_text_is_text_as_it_is_written(tmp_path):
    (tmp_path / "sources").mkdir()
    (tmp_path / "corpus.yaml").write_text(
        "{name: 2019, seed: 1, targets: {200: 200}, quotas: {photos: {share: 1, subcategories: {no: {share: 0.5},"
        " 01: {share: 0.25}, true: {share: .25}}}}}"
    )
    (tmp_path / "sources/a.yaml").write_text(
        "sources:\n- {name: 7, kind: client_folder, category: photos, licence: MIT, path: /, enabled: no,"
        " subcategory_from: {folder: 1, map: {on: no, 01: 01, 1: no, True: true, 1:30: no}}}"
    )
    catalog = load_catalog(tmp_path)
    assert (catalog.corpus.name, dict(catalog.corpus.targets)) == ("2019", {"200": 200})
    assert set(catalog.corpus.quotas["photos"].subcategories) == {"no", "01", "true"}
    spec = catalog.source("7")
    assert not spec.enabled
    assert spec.subcategory_from is not None
    assert spec.subcategory_from.map == {"on": "no", "01": "01", "1": "no", "True": "true", "1:30": "no"}


def test_what_is_no_yaml_has_its_place(tmp_path):
    (tmp_path / "corpus.yaml").write_text("name: a\nseed: [\n")
    assert "corpus.yaml:3:1: not YAML: while parsing a flow node" in problems_of(tmp_path)[0]
