"""Pictures in the event log do not outlive a takedown, nor does anything else go."""

import base64
from hashlib import sha256
from pathlib import Path

import pytest

from vlm_assets.images.thumbnails import thumbnail
from vlm_assets.operate.takedown import TakedownOrder, take_down
from vlm_assets.orchestration.assets.previews import forget_previews
from vlm_assets.orchestration.assets.thumbnails import SIDE_PX, data_url
from vlm_assets.orchestration.names import ALLOCATION_KEY, CORPUS_KEY, dataset_key
from vlm_assets.store.rejected_pictures import forget_rejected
from vlm_assets_tests.orchestration.kit import Line, instance_in
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture


def small(number: int) -> bytes:
    """The preview of a picture as the event log holds it."""
    made = thumbnail(picture(number), {"format": "JPEG", "width_px": 64, "height_px": 48}, SIDE_PX)
    assert made
    return data_url(made).encode()


def held(home: Path, what: bytes) -> list[str]:
    """Files of the instance with any piece of these bytes, freed pages of the databases included.

    By pieces, for a page of SQLite may end anywhere; only those of no other picture's, for previews begin alike.
    """
    every = [what[start : start + 48] for start in range(0, len(what) - 48, 48)]
    others = [one for one in map(small, (0, 1, 7, 10, 11)) if one != what]
    pieces = [piece for piece in every if not any(piece in one for one in others)]
    assert pieces
    found = []
    for path in home.rglob("*"):
        held_bytes = path.read_bytes() if path.is_file() else b""
        if any(piece in held_bytes for piece in pieces):
            found.append(path.name)
    return sorted(found)


@pytest.fixture
def line(tmp_path, made_home, monkeypatch):
    fill(tmp_path / "street" / "day", 2)
    fill(tmp_path / "street" / "night", 2, start=10)
    installation = install(tmp_path, {**STREET, "path": tmp_path / "street"})
    home = tmp_path / "home"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with instance_in(home, made_home) as instance:
        line = Line(installation, instance)
        assert line.list_sources("street").success
        assert line.fetch("street").success
        yield line


def test_a_takedown_takes_the_previews_of_its_slices_and_no_others(line, tmp_path):
    home = tmp_path / "home"
    assert len(held(home, small(1))) == 2  # the run's file and the index
    before = line.events(dataset_key("street"))
    digest = sha256(picture(1)).hexdigest()
    receipt = take_down(
        line.installation,
        TakedownOrder(sha256=digest),
        forget_previews=lambda slices: forget_previews(line.installation, slices),
    )
    assert receipt.previews_cleaned == ("street/day",)
    assert receipt.outstanding == ()
    assert held(home, small(1)) == []
    assert held(home, small(10)), "another slice keeps its previews"
    assert base64.b64encode(b"\xff\xd8\xff")[:4] in small(10)
    after = line.events(dataset_key("street"))
    assert [event.partition for event in after] == [event.partition for event in before]
    assert line.facts(dataset_key("street"), "day")["first images"] == " ".join(
        ["(removed by a takedown)"] * 2
    )
    assert line.facts(dataset_key("street"), "day")["rows"] == 2


def test_a_takedown_takes_the_previews_of_corpora_too(line, tmp_path):
    assert line.run(ALLOCATION_KEY, CORPUS_KEY, partition_key="20").success
    assert "data:image/jpeg" in line.facts(CORPUS_KEY, "20")["first images"]
    assert forget_previews(line.installation, [("street", "day")]) == ["corpus/20", "street/day"]
    assert "data:image/jpeg" not in line.facts(CORPUS_KEY, "20")["first images"]
    assert held(tmp_path / "home", small(1)) == []
    assert held(tmp_path / "home", small(10)), "another slice keeps its previews"


def test_older_events_show_versions_that_nothing_else_remembers(line, tmp_path):
    (tmp_path / "street" / "day" / "0001.jpeg").write_bytes(picture(7))
    assert line.list_sources("street").success
    assert line.fetch("street").success
    assert forget_previews(line.installation, []) == ["street/day", "street/night"]
    assert held(tmp_path / "home", small(1)) == []
    assert held(tmp_path / "home", small(7))


def test_an_instance_that_cannot_be_reached_is_outstanding(tmp_path):
    fill(tmp_path / "street", 2)
    installation = install(tmp_path, {**STREET, "path": tmp_path / "street"})
    ingest(installation)

    def fail(_slices: object) -> list[str]:
        raise OSError("database is locked")

    receipt = take_down(installation, TakedownOrder(id="street/root/0001.jpeg"), forget_previews=fail)
    assert receipt.exit_code == 1
    assert "database is locked" in receipt.outstanding[0]


def test_rejects_of_a_slice_stay_on_its_page_and_go_with_any_takedown(tmp_path, made_home, monkeypatch):
    cut = picture(5, size=(640, 480))[:4000]
    fill(tmp_path / "street", 2)
    (tmp_path / "street" / "cut.jpeg").write_bytes(cut)
    (tmp_path / "street" / "cut_too.jpeg").write_bytes(picture(6, size=(640, 480))[:4000])
    source = {**STREET, "path": tmp_path / "street", "reject_tolerance": 1}
    installation = install(tmp_path, source)
    home = tmp_path / "home"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    taken_down = take_down(installation, TakedownOrder(sha256=sha256(cut).hexdigest()))
    assert taken_down.complete
    with instance_in(home, made_home) as instance:
        line = Line(installation, instance)
        assert line.list_sources("street").success
        assert line.fetch("street").success
        before = line.facts(dataset_key("street"), "root")["rejected images"]
        assert before.count("![truncated](data:image/jpeg") == 1
        fill(tmp_path / "street", 1, start=7)
        assert line.list_sources("street").success
        assert line.fetch("street").success
        assert line.facts(dataset_key("street"), "root")["why"] == "changed"
        assert line.facts(dataset_key("street"), "root")["rejected images"] == before, "nobody asked again"
        assert forget_rejected(installation.root) == ["street"]
        assert line.fetch("street").success
        assert line.facts(dataset_key("street"), "root")["why"] == "committed"
        assert line.facts(dataset_key("street"), "root")["rejected images"] == before
        assert forget_previews(installation, []) == ["street/root"]
        facts = line.facts(dataset_key("street"), "root")
        assert "(removed by a takedown)" in facts["rejected images"]
        assert "data:image/jpeg" not in facts["rejected images"]
        assert "data:image/jpeg" in facts["first images"]
