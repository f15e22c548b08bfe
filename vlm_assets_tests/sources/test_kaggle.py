import ssl
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.demo.services.base import Fault
from vlm_assets.demo.services.kaggle import KaggleService
from vlm_assets.demo.services.pictures import picture, tar_of, zip_of
from vlm_assets.sources.kaggle import SOURCE, KaggleSpec
from vlm_assets.transfer import tls
from vlm_assets.transfer.tls import tls_context
from vlm_assets.words.errors import RejectReason, SourceError
from vlm_assets.words.records import Listed
from vlm_assets_tests.archives.made import cut, raw_zip, seven_zip_bytes, zip_bytes
from vlm_assets_tests.sources.kit import (
    COMMON,
    Fetched,
    fetch_slice,
    identities,
    list_context,
    settings_of,
    silence_timeout_s,
    slices_of,
)

KEY = "k4ggl3" * 6
FILES = [("cat/a.jpg", picture("a").data), ("cat/b.jpg", picture("b").data), ("köpek/c.jpg", picture("c").data),
         ("top.png", picture("top", fmt="PNG").data), ("labels.csv", b"a,b"), ("__MACOSX/cat/._a.jpg", b"x"),
         ("cat/.DS_Store", b"x"), ("../evil.jpg", b"x")]  # fmt: skip


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KaggleService]:
    with KaggleService() as service:
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "none"))
        monkeypatch.setenv("HOME", str(tmp_path / "none"))
        for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        service.add("org/pets", zip_of(FILES))
        yield service


def spec_of(**keys: Any) -> KaggleSpec:
    return KaggleSpec(**{**COMMON, "kind": "kaggle", "handle": "org/pets", **keys})


def listed_of(folder: Path, spec: KaggleSpec | None = None, **options: Any) -> Listed:
    return SOURCE.list(spec or spec_of(), list_context(folder, **options))


def fetched_of(folder: Path, name: str, spec: KaggleSpec | None = None, **options: Any) -> Fetched:
    listed = listed_of(folder, spec, settings=options.get("settings"))
    return fetch_slice(SOURCE, spec or spec_of(), folder, listed, name, **options)


@pytest.mark.usefixtures("kaggle")
def test_top_folders_are_slices_and_members_are_read_safely(tmp_path: Path) -> None:
    listed = listed_of(tmp_path)
    assert listed.revision == "versions/1"
    assert {n: sorted(i.key for i in s.items) for n, s in slices_of(listed).items()} == {
        "cat": ["cat/a.jpg", "cat/b.jpg"], "köpek": ["köpek/c.jpg"], "root": ["../evil.jpg", "top.png"],
    }  # fmt: skip
    assert sorted(fetched_of(tmp_path, "cat").images) == sorted([picture("a").data, picture("b").data])
    root = fetched_of(tmp_path, "root")
    assert [(r.item, r.reason) for r in root.rejects] == [("../evil.jpg", RejectReason.UNSAFE_MEMBER)]
    assert [(r.key, r.origin) for r in root.records] == [("top.png", "kaggle://org/pets/top.png")]
    assert not list(tmp_path.rglob("evil*"))


def test_the_listing_reads_the_directory_only(kaggle: KaggleService, tmp_path: Path) -> None:
    noise = [(f"big/{i}.jpg", bytes([i]) * 300_000) for i in range(10)]
    kaggle.add("org/big", zip_of(noise))
    listed_of(tmp_path, spec_of(handle="org/big"))
    ranged = [entry for entry in kaggle.storage.log if entry.status == 206]
    assert sum(entry.sent_bytes for entry in ranged) < 1_100_000
    kaggle.clear_log()
    kaggle.storage.clear_log()
    listed_of(tmp_path, spec_of(handle="org/big"))
    assert [entry.path.rsplit("/", 1)[-1] for entry in kaggle.log] == ["GetDataset"]
    assert kaggle.storage.log == []


def test_globs_and_buckets(kaggle: KaggleService, tmp_path: Path) -> None:
    listed = listed_of(tmp_path, spec_of(include=["cat/*", "top*"], exclude=["*b.jpg"]))
    assert sorted(i.key for s in listed.slices for i in s.items) == ["cat/a.jpg", "top.png"]
    kaggle.add("org/flat", zip_of([(f"{i}.jpg", picture("x").data) for i in range(30)]))
    flat = listed_of(tmp_path, spec_of(handle="org/flat", files_per_slice=10))
    assert (flat.buckets, len(slices_of(flat))) == ({"root": 3}, 3)
    with pytest.raises(SourceError, match=r"none of its members \(8\) .* there are: cat/a.jpg"):
        listed_of(tmp_path, spec_of(include=["*.gif"]))


def test_a_name_that_comes_twice_is_a_reject(kaggle: KaggleService, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        kaggle.add("org/twice", zip_of([("a.jpg", picture("a").data), ("a.jpg", picture("b").data)]))
    fetched = fetched_of(tmp_path, "root", spec_of(handle="org/twice"))
    assert fetched.images == [picture("a").data]
    assert [(r.item, r.reason) for r in fetched.rejects] == [("a.jpg#1", RejectReason.DUPLICATE_ITEM)]


def test_a_new_version_changes_only_the_slices_that_changed(kaggle: KaggleService, tmp_path: Path) -> None:
    before = listed_of(tmp_path)
    kaggle.add("org/pets", zip_of([*FILES, ("cat/new.jpg", picture("new").data)]))
    after = listed_of(tmp_path)
    assert after.revision == "versions/2"
    assert [n for n, items in identities(after).items() if identities(before)[n] != items] == ["cat"]
    pinned = listed_of(tmp_path, spec_of(handle="org/pets/versions/1"))
    assert identities(pinned) == identities(before)


def test_nothing_is_asked_twice(kaggle: KaggleService, tmp_path: Path) -> None:
    spec = spec_of(handle="org/pets/versions/1")
    first = fetched_of(tmp_path, "cat", spec).content()
    kaggle.clear_log()
    kaggle.storage.clear_log()
    assert fetched_of(tmp_path, "cat", spec).content() == first
    assert len(fetched_of(tmp_path, "köpek", spec).images) == 1
    assert kaggle.log + kaggle.storage.log == []


@pytest.mark.usefixtures("kaggle")
def test_certificates_are_read_once_by_all_clients_of_a_sort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path | None] = []

    def counted(ca_bundle: Path | None) -> ssl.SSLContext:
        read.append(ca_bundle)
        return tls_context(ca_bundle)

    tls._read.cache_clear()
    monkeypatch.setattr(tls, "tls_context", counted)
    assert fetched_of(tmp_path, "cat").images
    assert read == [None, None]  # that of requests, that of our own client


FAULTS = {
    "get-429": ("api", Fault("*/GetDataset", "429", 1, retry_after_s=1)),
    "get-503": ("api", Fault("*/GetDataset", "503", 2)),
    "get-cut": ("api", Fault("*/GetDataset", "cut", 1)),
    "get-stall": ("api", Fault("*/GetDataset", "stall", 1)),
    "sign-429": ("api", Fault("*/DownloadDataset", "429", 1, retry_after_s=1)),
    "body-429": ("storage", Fault("*", "429", 1, retry_after_s=1)),
    "body-cut": ("storage", Fault("*", "cut", 3)),
    "body-stall": ("storage", Fault("*", "stall", 3)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_recovered(kaggle: KaggleService, tmp_path: Path, name: str) -> None:
    where, fault = FAULTS[name]
    service = kaggle if where == "api" else kaggle.storage
    service.faults.append(Fault(fault.path, fault.kind, fault.times, fault.retry_after_s))
    settings = settings_of(tmp_path, http_timeout_s=silence_timeout_s(fault.kind))
    fetched = fetched_of(tmp_path, "cat", settings=settings)
    assert sorted(fetched.images) == sorted([picture("a").data, picture("b").data])
    assert service.faults[0].times == 0
    if fault.retry_after_s:
        first, second = service.requests(fault.path)[:2]
        assert second.at - first.at >= fault.retry_after_s


def test_a_wrong_md5_never_gets_in(kaggle: KaggleService, tmp_path: Path) -> None:
    listed = listed_of(tmp_path)
    kaggle.storage.faults.append(
        Fault("*", "corrupt", 2)
    )  # the signing request's own body, and the download's
    assert len(fetch_slice(SOURCE, spec_of(), tmp_path, listed, "cat").images) == 2
    (tmp_path / "cache/org--pets--1.zip").unlink()
    kaggle.storage.faults.append(Fault("*", "corrupt", 100))
    with pytest.raises(SourceError, match="does not have its md5"):
        fetch_slice(SOURCE, spec_of(), tmp_path, listed, "cat")
    assert not list((tmp_path / "cache").glob("*.zip*"))


def test_an_archive_replaced_under_its_version_is_refused_and_listed_anew(
    kaggle: KaggleService, tmp_path: Path
) -> None:
    listed, other = listed_of(tmp_path), picture("b").data
    versions = kaggle.datasets["org/pets"].versions
    versions[0] = zip_of([("cat/a.jpg", other), *FILES[1:]])
    with pytest.raises(SourceError, match="is not the archive that was listed; list again"):
        fetch_slice(SOURCE, spec_of(), tmp_path, listed, "cat")
    again = listed_of(tmp_path)
    assert identities(again) != identities(listed)
    assert fetch_slice(SOURCE, spec_of(), tmp_path, again, "cat").image(0) == other


def test_a_download_cut_by_a_kill_continues(kaggle: KaggleService, tmp_path: Path) -> None:
    listed = listed_of(tmp_path)
    settings = settings_of(tmp_path, http_attempts=1)
    kaggle.storage.faults.append(Fault("*", "cut", 100))
    with pytest.raises(SourceError):
        fetch_slice(SOURCE, spec_of(), tmp_path, listed, "cat", settings=settings)
    kaggle.storage.faults.clear()
    kaggle.storage.clear_log()
    fetch_slice(SOURCE, spec_of(), tmp_path, listed, "cat")
    assert [entry.status for entry in kaggle.storage.log] == [200, 206]


@pytest.mark.parametrize(
    ("handle", "message"),
    [
        ("org/private", "is forbidden .*KAGGLE_USERNAME and KAGGLE_KEY"),
        ("org/none", "does not exist at that version, or is private"),
        ("org/pets/versions/7", "does not exist at that version"),
    ],
)
def test_refusals_say_what_to_do(kaggle: KaggleService, tmp_path: Path, handle: str, message: str) -> None:
    kaggle.add("org/private", zip_of(FILES), private=True)
    with pytest.raises(SourceError, match=message):
        listed_of(tmp_path, spec_of(handle=handle))


def test_credentials_open_and_leave_no_trace(
    kaggle: KaggleService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    kaggle.key = KEY
    kaggle.add("org/private", zip_of(FILES), private=True)
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    caplog.set_level("DEBUG")
    fetched = fetched_of(tmp_path, "cat", spec_of(handle="org/private"))
    assert len(fetched.images) == 2
    assert not any("authorization" in entry.headers for entry in kaggle.storage.log)
    assert {entry.headers["user-agent"].partition("/")[0] for entry in kaggle.log} == {"vlm-assets"}
    out = capfd.readouterr()
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (KEY, "Goog-Signature"):
        assert secret not in caplog.text + repr(fetched.events) + out.out + out.err
        assert secret.encode() not in kept


INNER = [("cat/a.jpg", picture("a").data), ("b.jpg", picture("b").data), ("notes.txt", b"n")]
INSIDE = {
    "train.zip": {"train.zip": zip_of(INNER)},
    "deep/train.tar.gz": {"deep/train.tar.gz": tar_of(INNER, "w:gz")},
    "train.7z": {"train.7z": seven_zip_bytes(INNER)},
    "p.zip": {f"p.zip.00{number}": part for number, part in enumerate(cut(zip_of(INNER), 300, 900), 1)},
    "s.zip": dict(zip(("s.z01", "s.zip"), cut(raw_zip([(n.encode(), d) for n, d in INNER], disks=[800]), 800),
                      strict=True)),
}  # fmt: skip


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize("name", INSIDE)
def test_archives_inside_are_slices(kaggle: KaggleService, tmp_path: Path, name: str, method: int) -> None:
    kaggle.add("org/nested", zip_bytes([("top.jpg", picture("top").data), *INSIDE[name].items()], method))
    spec = spec_of(handle="org/nested")
    listed = listed_of(tmp_path, spec)
    assert {key: (len(one.items), one.container) for key, one in slices_of(listed).items()} == {
        "root": (1, False), name: (1, True),
    }  # fmt: skip
    fetched = fetched_of(tmp_path, name, spec)
    assert [(one.key, one.record, one.origin) for one in fetched.records] == [
        (f"{name}/cat/a.jpg", 0, f"kaggle://org/nested/{name}!cat/a.jpg"),
        (f"{name}/b.jpg", 1, f"kaggle://org/nested/{name}!b.jpg"),
    ]  # fmt: skip
    assert fetched.images == [picture("a").data, picture("b").data]
    assert [(one.key, str(one.reason)) for one in fetched.left_out] == [(f"{name}/notes.txt", "unknown_type")]
    assert not list((tmp_path / "cache").rglob("archive-*"))


def test_bytes_decide_where_a_suffix_tells_nothing(kaggle: KaggleService, tmp_path: Path) -> None:
    files = [
        ("x/0001", picture("a").data),
        ("x/b.dat", b"no image"),
        ("x/c.jpg", b"bad"),
        ("x/d.txt", b"words"),
        ("x/photos", zip_of(INNER)),
        ("x/cut", zip_of(INNER)[:-30]),
        ("x/prog.bin", zip_of(INNER)),
    ]
    kaggle.add("org/odd", zip_of([*files, ("x/.e.jpg", b""), ("x/p.zip.002", b""), ("Thumbs.db", b"")]))
    spec = spec_of(handle="org/odd")
    assert sorted((one.key, str(one.reason)) for one in listed_of(tmp_path, spec).left_out) == [
        ("Thumbs.db", "os_junk"), ("x/.e.jpg", "hidden"), ("x/d.txt", "unknown_type"),
        ("x/p.zip.002", "split_archive_incomplete"),
    ]  # fmt: skip
    fetched = fetched_of(tmp_path, "x", spec)
    assert {one.key: one.images[0].data for one in fetched.records} == {
        "x/0001": picture("a").data,
        "x/c.jpg": b"bad",
        "x/photos/cat/a.jpg": picture("a").data,
        "x/photos/b.jpg": picture("b").data,
    }
    assert sorted((one.key, str(one.reason)) for one in fetched.left_out) == [
        ("x/b.dat", "unknown_type"), ("x/photos/notes.txt", "unknown_type"), ("x/prog.bin", "unknown_type"),
    ]  # fmt: skip
    assert [(one.item, one.record, one.reason) for one in fetched.rejects] == [
        ("x/cut", 0, RejectReason.UNREADABLE)
    ]


def test_names_that_nobody_declares_are_told_and_read(kaggle: KaggleService, tmp_path: Path) -> None:
    kaggle.add("org/old", raw_zip([("şehir/ığdır.jpg".encode("cp857"), picture("a").data)]))
    listed = listed_of(tmp_path, spec_of(handle="org/old"))
    assert [*slices_of(listed)] != ["şehir"]
    (hint,) = listed.hints
    assert "'şehir/ığdır.jpg'" in hint
    assert "set `encoding` (cp857?)" in hint
    told = spec_of(handle="org/old", encoding="cp857")
    assert list(slices_of(listed_of(tmp_path, told))) == ["şehir"]
    assert not listed_of(tmp_path, told).hints
    assert [one.key for one in fetched_of(tmp_path, "şehir", told).records] == ["şehir/ığdır.jpg"]
    with pytest.raises(ValueError, match="unknown encoding 'cp9999'"):
        spec_of(encoding="cp9999")


def test_an_archive_that_unpacks_to_too_much_is_refused(kaggle: KaggleService, tmp_path: Path) -> None:
    kaggle.add("org/bomb", raw_zip([(b"%d.jpg" % number, b"x") for number in range(9)], size=2**27))
    with pytest.raises(SourceError, match="unpacks to more than 200 times"):
        listed_of(tmp_path, spec_of(handle="org/bomb"))


def test_missing_last_parts_inside_are_told(kaggle: KaggleService, tmp_path: Path) -> None:
    kaggle.add("org/cut", zip_of([("p.zip.001", zip_of(INNER)[:300]), ("p.zip.002", zip_of(INNER)[300:400])]))
    fetched = fetched_of(tmp_path, "p.zip", spec_of(handle="org/cut"))
    assert [(one.key, str(one.reason)) for one in fetched.left_out] == [
        ("p.zip/p.zip.001", "split_archive_incomplete"), ("p.zip/p.zip.002", "split_archive_incomplete"),
    ]  # fmt: skip
    assert [one.reason for one in fetched.rejects] == [RejectReason.UNREADABLE]
