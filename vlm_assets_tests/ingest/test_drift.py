"""What becomes of an address that gives other bytes than before."""

from io import BytesIO

import pytest
from PIL import Image, ImageDraw

from vlm_assets.images.likeness import same_by_dhash, same_by_pixels, telling
from vlm_assets.ingest.drift import DRIFT_FILE, DriftGuard, Memory, read_drift
from vlm_assets.ingest.due import Due
from vlm_assets.ingest.slice import SliceOptions, SliceOutcome
from vlm_assets.installation.opening import Installation
from vlm_assets.store.slices import data_file_names, read_rejects, read_rows
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.records import Record
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.workplace import STREET, ingest, install, picture

FORCE = SliceOptions(force=True)
ACCEPT = SliceOptions(accept_drift=True)


def encoded(image: Image.Image, form: str = "JPEG", **options: int) -> bytes:
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def again(content: bytes, quality: int = 40) -> bytes:
    """The same picture in another encoding."""
    with Image.open(BytesIO(content)) as image:
        return encoded(image, quality=quality)


def flat(colour: str, *, mark: bool = False) -> bytes:
    image = Image.new("RGB", (120, 90), colour)
    if mark:
        ImageDraw.Draw(image).rectangle((40, 30, 60, 45), fill="black")
    return encoded(image, quality=85)


@pytest.fixture
def web():
    with FaultServer({f"/{n}.jpg": Reply(body=picture(n)) for n in range(4)}) as server:
        yield server


def installed(tmp_path, web, **keys: object) -> Installation:
    captions = keys.pop("captions", {})
    lines = [f"{web.url(f'/{n}.jpg')},{captions.get(n, 'one')}" for n in range(4)]  # type: ignore[attr-defined]  # a dict
    (tmp_path / "urls.csv").write_text("url,caption\n" + "\n".join(lines) + "\n")
    source = {**STREET, "kind": "image_urls", "urls": tmp_path / "urls.csv", "text_column": "caption"}
    source |= {"reject_tolerance": 0.5, "rows_per_slice": 100, **keys}
    return install(tmp_path, source, allow_private_hosts="127.0.0.1")


def built(installation: Installation, options: SliceOptions | None = None) -> SliceOutcome:
    [outcome] = ingest(installation, options=options).values()
    return outcome


def rows(outcome: SliceOutcome) -> dict[str, bytes]:
    found = read_rows(outcome.path, data_file_names(outcome.manifest.files))
    return {row["origin"].rsplit("/", 1)[1]: row["images"][0] for row in found}


@pytest.mark.parametrize("way", ["forced", "caption changed"])
def test_another_picture_is_quarantined_and_the_same_encoded_again_is_taken(tmp_path, web, way):
    before = built(installed(tmp_path, web))
    web.script |= {"/0.jpg": Reply(body=picture(77)), "/1.jpg": Reply(body=again(picture(1)))}
    captions = {} if way == "forced" else {0: "two", 1: "two"}
    now = built(installed(tmp_path, web, captions=captions), FORCE if way == "forced" else None)
    assert rows(now).keys() == {"1.jpg", "2.jpg", "3.jpg"}
    assert rows(now)["1.jpg"] == again(picture(1))
    assert now.manifest.rejects == {"drifted": 1}
    [reject] = read_rejects(now.path)
    [evidence] = read_drift(now.path)
    hashes = [evidence["image_sha256_before"], evidence["image_sha256_now"]]
    assert reject.reason is RejectReason.DRIFTED
    assert all(one in reject.detail for one in hashes)
    assert not reject.transient
    assert now.run.figures["pictures encoded again"] == 1
    assert now.run.figures["pictures quarantined"] == 1
    assert DRIFT_FILE in now.manifest.files
    assert before.manifest.rejects == {}


def test_a_quarantined_address_stays_one_whatever_is_fetched_after(tmp_path, web):
    built(installed(tmp_path, web))
    web.script["/0.jpg"] = Reply(body=picture(77))
    first = built(installed(tmp_path, web), FORCE)
    assert built(installed(tmp_path, web)).due is Due.COMMITTED
    assert built(installed(tmp_path, web), FORCE).path == first.path
    kept = built(installed(tmp_path, web, captions={3: "two"}))  # 0 is not asked for again
    assert read_drift(kept.path) == read_drift(first.path)
    web.script["/0.jpg"] = Reply(body=picture(78))
    other = built(installed(tmp_path, web, captions={3: "two"}), FORCE)
    assert other.manifest.rejects == {"drifted": 1}
    [before], [now] = read_drift(first.path), read_drift(other.path)
    assert before["image_sha256_before"] == now["image_sha256_before"]
    assert before["image_sha256_now"] != now["image_sha256_now"]


def test_the_picture_of_before_comes_back_by_itself(tmp_path, web):
    first = built(installed(tmp_path, web))
    web.script["/0.jpg"] = Reply(body=picture(77))
    built(installed(tmp_path, web), FORCE)
    web.script["/0.jpg"] = Reply(body=picture(0))
    back = built(installed(tmp_path, web), FORCE)
    assert back.path == first.path
    assert read_drift(back.path) == []


def test_a_failure_in_between_is_not_forgetting(tmp_path, web):
    built(installed(tmp_path, web))
    web.script["/0.jpg"] = Reply(404, b"", content_type="text/plain")
    gone = built(installed(tmp_path, web), FORCE)
    assert gone.manifest.rejects == {"not_found": 1}
    assert read_drift(gone.path)[0]["image_sha256_now"] is None
    web.script["/0.jpg"] = Reply(body=picture(77))
    assert built(installed(tmp_path, web), FORCE).manifest.rejects == {"drifted": 1}


@pytest.mark.parametrize("way", ["command", "catalogue"])
def test_someone_accepts_it(tmp_path, web, way):
    built(installed(tmp_path, web))
    web.script["/0.jpg"] = Reply(body=picture(77))
    built(installed(tmp_path, web), FORCE)
    asked = len(web.log)
    keys = {"drift": "accept"} if way == "catalogue" else {}
    released = built(installed(tmp_path, web, **keys), ACCEPT if way == "command" else None)
    assert released.due is Due.RELEASED
    assert rows(released)["0.jpg"] == picture(77)
    assert web.counts["/1.jpg"] == 2, "the others were not asked for again"
    assert len(web.log) <= asked + 2
    assert built(installed(tmp_path, web)).due is Due.COMMITTED
    assert built(installed(tmp_path, web), FORCE).manifest.rejects == {}


def test_a_declared_hash_vouches_for_the_new_picture(tmp_path, web):
    from hashlib import sha256

    def declared(content: bytes) -> Installation:
        line = f"{web.url('/0.jpg')},{sha256(content).hexdigest()}"
        (tmp_path / "urls.csv").write_text(f"url,hash\n{line}\n")
        source = {**STREET, "kind": "image_urls", "urls": tmp_path / "urls.csv", "sha256_column": "hash"}
        return install(tmp_path, source, allow_private_hosts="127.0.0.1")

    built(declared(picture(0)))
    web.script["/0.jpg"] = Reply(body=picture(77))
    assert rows(built(declared(picture(77)))) == {"0.jpg": picture(77)}


@pytest.mark.parametrize(
    ("before", "now", "taken"),
    [
        (flat("white"), again(flat("white"), 20), True),
        (flat("white"), flat("grey"), False),
        (flat("red"), flat("green"), False),
        (flat("white"), flat("white", mark=True), False),
        (flat("white"), picture(5), False),
        (picture(0), flat("grey"), False),
    ],
    ids=["flat-again", "other-grey", "other-colour", "a-mark", "flat-to-picture", "picture-to-placeholder"],
)
def test_flat_pictures_are_compared_by_their_pixels(tmp_path, web, before, now, taken):
    web.script["/0.jpg"] = Reply(body=before)
    built(installed(tmp_path, web))
    web.script["/0.jpg"] = Reply(body=now)
    outcome = built(installed(tmp_path, web), FORCE)
    assert outcome.manifest.rejects == ({} if taken else {"drifted": 1})


def test_without_a_dhash_pixels_decide(tmp_path, web):
    built(installed(tmp_path, web, verify="header"))
    web.script |= {"/0.jpg": Reply(body=picture(77)), "/1.jpg": Reply(body=again(picture(1)))}
    outcome = built(installed(tmp_path, web, verify="header"), FORCE)
    assert outcome.manifest.rejects == {"drifted": 1}
    assert rows(outcome)["1.jpg"] == again(picture(1))


def test_what_cannot_tell_says_nothing():
    assert [telling(one) for one in (None, 0, 0b1111, 0b11111, 2**64 - 1)] == [
        False,
        False,
        False,
        True,
        False,
    ]
    assert same_by_dhash(0, 0) is None
    assert same_by_dhash(0x0F0F0F0F0F0F0F0F, 0x0F0F0F0F0F0F0FFF) is True
    assert same_by_dhash(0x0F0F0F0F0F0F0F0F, 0xF0F0F0F0F0F0F0F0) is False
    assert same_by_pixels(b"no image", picture(0)) is None
    assert same_by_pixels(picture(0), picture(0, size=(96, 48))) is False


ONE, TWO, THREE = (picture(n) for n in range(3))


@pytest.mark.parametrize(
    ("now", "drifted"),
    [
        pytest.param([again(ONE), TWO], False, id="one-is-encoded-again"),
        pytest.param([ONE, THREE], True, id="the-second-is-another"),
        pytest.param([ONE, b"no picture"], True, id="the-second-cannot-be-compared"),
        pytest.param([TWO, ONE], True, id="in-another-order"),
        pytest.param([ONE], True, id="one-is-gone"),
    ],
)
def test_each_image_of_a_record_is_held_against_the_one_before(now, drifted):
    guard = DriftGuard({"k": Memory("00", None, 0)}, lambda _row: [ONE, TWO])
    row = {"images": now, "images_sha256": b"\1", "dhash": None, "record": 0}
    [result] = guard.judge("k", [(Record("k", 0, "k", (), "k"), row)])
    assert (isinstance(result, Reject) and result.reason is RejectReason.DRIFTED) is drifted
