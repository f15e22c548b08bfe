import io

import pytest

from vlm_assets.captions.joining import CaptionColumns
from vlm_assets.captions.keys import CaptionKeys
from vlm_assets.captions.trees import CaptionRule, Tree, caption_payload, tree_captions
from vlm_assets.words.errors import SourceError

IMAGES = ["a.jpg", "b.jpg", "t/a.jpg", "t/c.jpg"]


def tree(files, images=IMAGES):
    return Tree(images, list(files), lambda key: io.BytesIO(files[key].encode()), lambda key: f"src: {key}")


def said(rule, files, tmp_path, images=IMAGES):
    with tree_captions(rule, tree(files, images), tmp_path) as found:
        words = {key: [(one.words.text, dict(one.words.extra)) for one in found.of(key)] for key in images}
        return words, found.companions, found.counts, {key for key in images if found.only_named_beside(key)}


TABLES = {
    "metadata.csv": "file_name,text\na.jpg,bir\nt/a.jpg,iki\n",
    "t/metadata.csv": "file_name;text;n\na.jpg;üç;1\n",
    "notes.txt": "x",
}


def test_tables_speak_from_their_own_folder_on(tmp_path):
    words, companions, counts, _ = said(CaptionRule(tables=("metadata.csv",)), TABLES, tmp_path)
    assert words == {
        "a.jpg": [("bir", {})], "b.jpg": [], "t/a.jpg": [("iki", {}), ("üç", {"n": "1"})], "t/c.jpg": [],
    }  # fmt: skip
    assert companions == {"metadata.csv", "t/metadata.csv"}
    assert (counts["rows"], counts["images_without_rows"]) == (3, 2)


def test_an_image_that_rows_name_only_beside_another_is_told(tmp_path):
    files = {"m.csv": "image_file_name,mask_file_name\na.jpg,b.jpg\nt/a.jpg,t/c.jpg\nt/c.jpg,b.jpg\n"}
    words, *_, beside = said(CaptionRule(tables=("m.csv",)), files, tmp_path)
    assert beside == {"b.jpg"}
    assert {key: len(captions) for key, captions in words.items()} == {
        "a.jpg": 1, "b.jpg": 0, "t/a.jpg": 1, "t/c.jpg": 1,
    }  # fmt: skip


def test_a_caption_lists_its_images_where_they_are_several(tmp_path):
    files = {"m.csv": "file_name,mask_file_name\na.jpg,b.jpg\nt/a.jpg,\n"}
    with tree_captions(CaptionRule(tables=("m.csv",)), tree(files), tmp_path) as found:
        assert [one.key for one in found.of("a.jpg")[0].images] == ["a.jpg", "b.jpg"]
        assert found.of("t/a.jpg")[0].images == ()


def test_sidecars_of_a_tree(tmp_path):
    files = {"a.txt": "bir", "t/a.jpg.json": '{"caption": "iki", "n": 1}', "t/x.txt": "boş", "b.txt": " "}
    words, companions, counts, _ = said(CaptionRule(sidecars=True), files, tmp_path)
    assert words == {
        "a.jpg": [("bir", {})], "b.jpg": [(None, {})], "t/a.jpg": [("iki", {"n": 1})], "t/c.jpg": [],
    }  # fmt: skip
    assert companions == {"a.txt", "t/a.jpg.json", "b.txt"}
    assert counts == {
        "sidecars": 3, "sidecars_unused": 1, "images": 4, "images_without_rows": 1, "examples": ["t/x.txt"],
    }  # fmt: skip


def test_all_sidecars_that_cannot_be_read_are_told_at_once(tmp_path):
    images = [f"{n}.jpg" for n in range(8)]
    files = Tree(
        images,
        [f"{n}.txt" for n in range(8)],
        lambda key: io.BytesIO(b"\xe7ay" if key != "3.txt" else b"su"),
        lambda key: key,
    )
    with (
        pytest.raises(SourceError, match=r"0\.txt: line 1 is not UTF-8.*encoding.*5\.txt.*; and 2 more"),
        tree_captions(CaptionRule(sidecars=True), files, tmp_path),
    ):
        pass


def test_no_table_of_that_name_is_an_error(tmp_path):
    with (
        pytest.raises(SourceError, match=r"src: : there is no captions\.tsv in it"),
        tree_captions(CaptionRule(tables=("captions.tsv",)), tree(TABLES), tmp_path),
    ):
        pass


def test_without_a_rule_nothing_is_said(tmp_path):
    assert said(CaptionRule(), TABLES, tmp_path) == ({key: [] for key in IMAGES}, frozenset(), {}, set())


def test_payload_identity_and_keys(tmp_path):
    def payload(files):
        with tree_captions(CaptionRule(tables=("metadata.csv",)), tree(files), tmp_path) as found:
            return caption_payload(found.of("t/a.jpg"))

    two, told = payload(TABLES)
    assert two == {"captions": [{"text": "iki"}, {"text": "üç", "extra": {"n": "1"}}]}
    assert told != payload({**TABLES, "t/metadata.csv": "file_name;text;n\na.jpg;üç;2\n"})[1]
    assert payload({"metadata.csv": "file_name,text\na.jpg,bir\n"}) == ({}, "")
    assert payload({"metadata.csv": "file_name,text\nt/a.jpg,\n"}) == ({}, "")


@pytest.mark.parametrize(
    ("keys", "rule"),
    [
        ({}, CaptionRule()),
        ({"text": "sidecar"}, CaptionRule(sidecars=True)),
        ({"text": "metadata"}, CaptionRule(tables=("metadata.csv", "metadata.jsonl", "metadata.parquet"))),
        ({"text": "captions.txt", "file_name_column": "image", "text_column": "caption"},
         CaptionRule(tables=("captions.txt",), columns=CaptionColumns("image", "caption"))),
        ({"text": "llava.json", "file_name_column": "image", "file_name_folder": "images", "messages_column": "talk"},
         CaptionRule(tables=("llava.json",), columns=CaptionColumns("image", None, "talk", "images"))),
    ],
)  # fmt: skip
def test_keys_make_the_rule(keys, rule):
    assert CaptionKeys.model_validate(keys).caption_rule() == rule


@pytest.mark.parametrize("text", ["captions", "a/metadata.csv", "captions.xlsx", 5])
def test_a_text_key_that_cannot_be_is_told(text):
    with pytest.raises(ValueError, match="text"):
        CaptionKeys.model_validate({"text": text})
