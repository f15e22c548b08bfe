import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.demo.services.base import Fault, Reply
from vlm_assets.demo.services.github import GitHubService
from vlm_assets.demo.services.pictures import picture, tar_of, zip_of
from vlm_assets.sources.github_release import SOURCE, GithubReleaseSpec
from vlm_assets.transfer.politeness import MAX_PAUSE_S
from vlm_assets.words.errors import PostponedError, RejectReason, SourceError
from vlm_assets.words.records import Listed
from vlm_assets_tests.archives.made import cut, raw_zip, seven_zip_bytes
from vlm_assets_tests.odd_servers import OddServer, answer
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

TOKEN = "ghp_" + "s3cr3t" * 5
PHOTOS = zip_of([(f"{c}/{n}.jpg", picture(n).data) for c, n in (("cat", "a"), ("dog", "b"))])
ASSETS = {"photos.zip": PHOTOS, "more.tar.gz": tar_of([("c.jpg", picture("c").data)], "w:gz"),
          "one.jpg": picture("one").data, "two.png": picture("two", fmt="PNG").data,
          "SHA256SUMS.txt": b"x"}  # fmt: skip


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHubService]:
    with GitHubService() as service:
        monkeypatch.setenv("GITHUB_API_URL", service.api_url)
        monkeypatch.delenv("GITHUB_TOKEN", raising=False)
        service.release("org/pics", "v1", ASSETS)
        yield service


def spec_of(**keys: Any) -> GithubReleaseSpec:
    return GithubReleaseSpec(**{**COMMON, "kind": "github_release", "repo": "org/pics", **keys})


def listed_of(folder: Path, spec: GithubReleaseSpec | None = None, **options: Any) -> Listed:
    return SOURCE.list(spec or spec_of(), list_context(folder, **options))


def fetched_of(folder: Path, name: str, spec: GithubReleaseSpec | None = None, **options: Any) -> Fetched:
    listed = listed_of(folder, spec, settings=options.get("settings"))
    return fetch_slice(SOURCE, spec or spec_of(), folder, listed, name, **options)


@pytest.mark.usefixtures("github")
def test_archives_are_slices_and_loose_images_share_one(tmp_path: Path) -> None:
    listed = listed_of(tmp_path)
    assert listed.revision == "v1"
    assert {n: (len(s.items), s.container) for n, s in slices_of(listed).items()} == {
        "photos.zip": (1, True), "more.tar.gz": (1, True), "files": (2, False),
    }  # fmt: skip
    fetched = fetched_of(tmp_path, "photos.zip")
    assert [(r.key, r.origin) for r in fetched.records] == [
        ("cat/a.jpg", "github://org/pics/photos.zip!cat/a.jpg"),
        ("dog/b.jpg", "github://org/pics/photos.zip!dog/b.jpg"),
    ]
    assert fetched.images == [picture("a").data, picture("b").data]
    assert sorted(fetched_of(tmp_path, "files").images) == sorted([ASSETS["one.jpg"], ASSETS["two.png"]])


@pytest.mark.usefixtures("github")
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"assets": ["*.7z"]}, r"matches \*\.7z; there are: SHA256SUMS.txt, more.tar.gz, one.jpg"),
        ({"tag": "v9"}, "release v9: no such release .*there are: v1"),
        ({"repo": "org/none"}, "no such release|no such repository"),
    ],
)
def test_what_is_not_there_lists_what_is(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        listed_of(tmp_path, spec_of(**keys))


def test_all_pages_of_assets_are_listed(github: GitHubService, tmp_path: Path) -> None:
    github.release("org/pics", "v2", {f"{i:03d}.jpg": picture("x").data for i in range(75)})
    listed = listed_of(tmp_path)
    assert (listed.revision, len(slices_of(listed)["files"].items)) == ("v2", 75)
    assert len(slices_of(listed_of(tmp_path, spec_of(tag="v1")))) == 3


def test_an_unchanged_release_is_asked_for_conditionally(github: GitHubService, tmp_path: Path) -> None:
    first = identities(listed_of(tmp_path))
    github.clear_log()
    assert identities(listed_of(tmp_path)) == first
    assert [entry.status for entry in github.log] == [304, 304]


def test_a_new_release_changes_only_the_assets_that_changed(github: GitHubService, tmp_path: Path) -> None:
    before = identities(listed_of(tmp_path))
    github.release(
        "org/pics", "v2", {**ASSETS, "more.tar.gz": tar_of([("d.jpg", picture("d").data)], "w:gz")}
    )
    after = identities(listed_of(tmp_path))
    assert [name for name in after if after[name] != before[name]] == ["more.tar.gz"]


def test_what_systems_left_behind_and_hidden_files_are_no_items(
    github: GitHubService, tmp_path: Path
) -> None:
    left = {
        "._one.jpg": "os_junk",
        "._set.zip": "os_junk",
        ".two.jpg.gz": "hidden",
        ".three.zip.001": "hidden",
    }
    github.release("org/pics", "v2", {"one.jpg": ASSETS["one.jpg"], **dict.fromkeys(left, b"x")})
    listed = listed_of(tmp_path)
    assert {name: [item.key for item in one.items] for name, one in slices_of(listed).items()} == {
        "files": ["one.jpg"]
    }
    assert {one.key: str(one.reason) for one in listed.left_out} == left


FAULTS = {
    "api-429": ("github", Fault("*/releases/latest", "429", 1, retry_after_s=1)),
    "api-503": ("github", Fault("*/assets", "503", 1)),
    "api-cut": ("github", Fault("*/releases/latest", "cut", 1)),
    "body-429": ("storage", Fault("*", "429", 1, retry_after_s=1)),
    "body-cut": ("storage", Fault("*", "cut", 1)),
    "body-stall": ("storage", Fault("*", "stall", 1)),
    "body-corrupt": ("storage", Fault("*", "corrupt", 1)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_recovered(github: GitHubService, tmp_path: Path, name: str) -> None:
    where, fault = FAULTS[name]
    service = github if where == "github" else github.storage
    service.faults.append(Fault(fault.path, fault.kind, fault.times, fault.retry_after_s))
    settings = settings_of(tmp_path, http_timeout_s=silence_timeout_s(fault.kind))
    fetched = fetched_of(tmp_path, "photos.zip", settings=settings)
    assert fetched.images == [picture("a").data, picture("b").data]
    assert service.faults[0].times == 0
    if fault.retry_after_s:
        first, second = service.requests(fault.path)[:2]
        assert second.at - first.at >= fault.retry_after_s


def test_the_rate_limit_is_waited_out(github: GitHubService, tmp_path: Path) -> None:
    opens_at: list[float] = []

    def refuse_once(request: Any, original: Any = github.answer) -> Any:
        if not opens_at:
            github.limit_left, github.limit_reset_at = 0, int(time.time()) + 2
            opens_at.append(time.monotonic() + github.limit_reset_at - time.time())
        reply = original(request)
        github.limit_left = None
        return reply

    github.answer = refuse_once  # type: ignore[method-assign]  # the first is one too many
    assert listed_of(tmp_path).revision == "v1"
    refused, *later = github.requests("*")
    assert refused.status == 403
    assert later
    assert all(entry.at >= opens_at[0] for entry in later)


def test_a_wrong_digest_never_gets_in(github: GitHubService, tmp_path: Path) -> None:
    github.storage.faults.append(Fault("*", "corrupt", 100))
    with pytest.raises(SourceError):
        fetched_of(tmp_path, "photos.zip")
    rejects = fetched_of(tmp_path, "files").rejects
    assert {reject.reason for reject in rejects} == {RejectReason.CHECKSUM}
    assert len(rejects) == 2


def test_an_asset_replaced_since_the_listing_is_refused(github: GitHubService, tmp_path: Path) -> None:
    github.releases["org/pics"][0].digests = False
    listed = listed_of(tmp_path)
    github.releases["org/pics"][0].assets["photos.zip"] = PHOTOS + b"x"
    with pytest.raises(SourceError, match="list it again"):
        fetch_slice(SOURCE, spec_of(), tmp_path, listed, "photos.zip")


@pytest.mark.parametrize(
    ("name", "asset"), [("photos.zip", "photos.zip"), ("files", "one.jpg")], ids=["archive", "loose image"]
)
@pytest.mark.parametrize("change", ["replaced", "uploaded anew under its name", "gone"])
def test_an_asset_without_digest_is_held_to_what_was_listed(
    github: GitHubService, tmp_path: Path, name: str, asset: str, change: str
) -> None:
    """Also where its successor has as many bytes: the public address goes by name."""
    release = github.releases["org/pics"][0]
    release.digests = False
    listed = listed_of(tmp_path)
    assert fetch_slice(SOURCE, spec_of(), tmp_path / "before", listed, name).images
    content = release.assets[asset]
    later = content[:-1] + bytes([content[-1] ^ 1])
    if change == "replaced":
        release.assets[asset], release.ids[asset] = later, 900
        assert len(later) == len(content)
    elif change == "gone":  # after it was fetched
        fetch_slice(SOURCE, spec_of(), tmp_path, listed, name)
        del release.assets[asset]
    else:
        release.updated_at = "2025-01-01T00:00:00Z"
    with pytest.raises(SourceError, match=f"org/pics: replaced or removed .*{asset}.*; list it again"):
        fetch_slice(SOURCE, spec_of(), tmp_path, listed, name)
    if change != "gone":
        assert fetched_of(tmp_path / "after", name).images


def test_assets_with_digests_or_had_by_id_cost_no_further_request(
    github: GitHubService, tmp_path: Path
) -> None:
    listed = listed_of(tmp_path)
    github.clear_log()
    fetch_slice(SOURCE, spec_of(), tmp_path, listed, "photos.zip")
    assert len(github.log) == 1
    github.releases["org/pics"][0].digests, github.token = False, TOKEN
    settings = settings_of(tmp_path, github_token=TOKEN)
    listed = listed_of(tmp_path, settings=settings)
    github.clear_log()
    fetch_slice(SOURCE, spec_of(), tmp_path / "by id", listed, "photos.zip", settings=settings)
    assert len(github.log) == 1


def test_nothing_is_fetched_twice(github: GitHubService, tmp_path: Path) -> None:
    listed = listed_of(tmp_path)
    first = fetch_slice(SOURCE, spec_of(), tmp_path, listed, "photos.zip").content()
    github.clear_log()
    github.storage.clear_log()
    assert fetch_slice(SOURCE, spec_of(), tmp_path, listed, "photos.zip").content() == first
    assert github.log + github.storage.log == []
    fetch_slice(SOURCE, spec_of(), tmp_path, listed, "photos.zip", force=True)
    assert len(github.storage.log) == 1


def test_the_token_opens_private_repos_and_goes_nowhere_else(
    github: GitHubService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    github.token = TOKEN
    caplog.set_level("DEBUG")
    with pytest.raises(SourceError, match=r"private \(without a token\).*VLM_GITHUB_TOKEN"):
        listed_of(tmp_path)
    with pytest.raises(SourceError, match="the token is refused"):
        listed_of(tmp_path, settings=settings_of(tmp_path, github_token="wrong"))
    settings = settings_of(tmp_path, github_token=TOKEN)
    fetched = fetched_of(tmp_path, "photos.zip", settings=settings)
    assert len(fetched.images) == 2
    assert github.storage.log
    assert not any("authorization" in entry.headers for entry in github.storage.log)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (TOKEN, "signed-and-secret"):
        assert secret not in caplog.text + repr(fetched.events)
        assert secret.encode() not in kept


INNER = [("cat/a.jpg", picture("a").data), ("b.jpg", picture("b").data), ("notes.txt", b"n")]
SPLIT = {
    "p.zip": dict(zip(("p.zip.001", "p.zip.002"), cut(zip_of(INNER), 700), strict=True)),
    "p.tar.gz": dict(zip(("p.tar.gz.part00", "p.tar.gz.part01"), cut(tar_of(INNER, "w:gz"), 700), strict=True)),
    "q.tar.gz": dict(zip(("q.tar.gz.aa", "q.tar.gz.ab"), cut(tar_of(INNER, "w:gz"), 700), strict=True)),
    "s.zip": dict(zip(("s.z01", "s.zip"), cut(raw_zip([(n.encode(), d) for n, d in INNER], disks=[800]), 800),
                      strict=True)),
    "t.7z": {"t.7z": seven_zip_bytes(INNER)},
    "u.cbz": {"u.cbz": zip_of(INNER)},
}  # fmt: skip


@pytest.mark.parametrize("name", SPLIT)
def test_split_and_other_archives_are_read(github: GitHubService, tmp_path: Path, name: str) -> None:
    github.release("org/pics", "v2", {**SPLIT[name], "one.jpg": ASSETS["one.jpg"]})
    listed = listed_of(tmp_path)
    assert {key: (len(one.items), one.container) for key, one in slices_of(listed).items()} == {
        name: (1, True), "files": (1, False),
    }  # fmt: skip
    fetched = fetched_of(tmp_path, name)
    assert [(one.key, one.origin) for one in fetched.records] == [
        (inner, f"github://org/pics/{name}!{inner}") for inner in ("cat/a.jpg", "b.jpg")
    ]
    assert [(one.key, str(one.reason)) for one in fetched.left_out] == [(f"{name}/notes.txt", "unknown_type")]


def test_assets_that_nobody_reads_are_told(github: GitHubService, tmp_path: Path) -> None:
    assets = {
        "a.rar": b"Rar!",
        "p.zip.001": b"x",
        "p.zip.003": b"x",
        "x.arrow": b"",
        "Thumbs.db": b"",
        "b.jpg": b"",
    }
    github.release("org/pics", "v2", assets)
    hint, packed = listed_of(tmp_path).hints
    assert packed.startswith("1 archive not read by this kind, the first is a.rar; nothing here does")
    assert hint.startswith("1 data file not read by this kind, the first is x.arrow (x.arrow: cannot")
    listed = listed_of(tmp_path, spec_of(assets=["[!x]*"]))
    assert listed.hints == [packed]
    assert sorted((one.key, str(one.reason)) for one in listed.left_out) == [
        ("Thumbs.db", "os_junk"), ("a.rar", "unknown_type"), ("p.zip.001", "split_archive_incomplete"),
        ("p.zip.003", "split_archive_incomplete"), ("x.arrow", "excluded"),
    ]  # fmt: skip


def test_bytes_decide_where_a_suffix_tells_nothing(github: GitHubService, tmp_path: Path) -> None:
    big = picture("a").data + bytes(3_000_000)
    assets = {"0001": big, "b.bin": picture("b").data, "photos": zip_of(INNER), "tool": b"\x7fELF" + bytes(99),
              "lib.whl": zip_of(INNER), "model.pt": big, "c.jpg": picture("c").data}  # fmt: skip
    github.release("org/pics", "v2", assets)
    listed = listed_of(tmp_path)
    assert {name: sorted(i.key for i in one.items) for name, one in slices_of(listed).items()} == {
        "photos": ["photos"], "files": ["0001", "b.bin", "c.jpg"],
    }  # fmt: skip
    assert sorted((one.key, str(one.reason), one.detail) for one in listed.left_out) == [
        ("lib.whl", "unknown_type", "a ZIP archive"), ("model.pt", "unknown_type", ""),
        ("tool", "unknown_type", "a program"),
    ]  # fmt: skip
    assert sum(entry.sent_bytes for entry in github.storage.log) < 100_000
    assert [one.key for one in fetched_of(tmp_path, "photos").records] == ["cat/a.jpg", "b.jpg"]
    github.storage.clear_log()
    again = listed_of(tmp_path)
    assert identities(again) == identities(listed)
    assert github.storage.log == []


def test_first_bytes_that_cannot_be_had_are_told(
    github: GitHubService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    github.release("org/pics", "v2", {"0001": picture("a").data, "c.jpg": picture("c").data})
    github.storage.faults.append(Fault("*", "503", 100))
    with pytest.raises(SourceError, match="0001: status 503"):
        listed_of(tmp_path, settings=settings_of(tmp_path, http_attempts=1))
    github.storage.faults.clear()
    monkeypatch.setattr(github.storage, "answer", lambda _: Reply(404))
    [one] = listed_of(tmp_path).left_out
    assert (one.key, str(one.reason)) == ("0001", "unknown_type")
    assert "cannot be had" in one.detail
    assert "status 404" in one.detail
    monkeypatch.undo()
    monkeypatch.setenv("GITHUB_API_URL", github.api_url)
    assert not listed_of(tmp_path).left_out


def test_missing_last_parts_are_told(github: GitHubService, tmp_path: Path) -> None:
    parts = cut(tar_of(INNER, "w:gz"), 300, 700)[:2]
    github.release("org/pics", "v2", {f"p.tar.gz.0{number}": part for number, part in enumerate(parts)})
    fetched = fetched_of(tmp_path, "p.tar.gz")
    assert [(one.key, str(one.reason)) for one in fetched.left_out] == [
        ("p.tar.gz/p.tar.gz.00", "split_archive_incomplete"), ("p.tar.gz/p.tar.gz.01", "split_archive_incomplete"),
    ]  # fmt: skip
    assert [one.reason for one in fetched.rejects] == [RejectReason.UNREADABLE]


@pytest.mark.parametrize("reset", ["99999999999999999999", "9" * 4400, "1e400", "253402300799000"])
def test_a_reset_time_out_of_all_bounds_is_a_day_at_most(tmp_path: Path, reset: str) -> None:
    headers = ("X-RateLimit-Remaining: 0", f"X-RateLimit-Reset: {reset}")
    with OddServer() as server:
        server.script["/repos/a/b/releases/latest"] = answer(b"", *headers, status="403 Forbidden")
        spec = GithubReleaseSpec.model_validate(
            {**COMMON, "kind": "github_release", "repo": "a/b", "api": server.url("")}
        )
        with pytest.raises(SourceError) as caught:
            SOURCE.list(spec, list_context(tmp_path))
    if reset == "1e400":  # no number that anybody sends: an ordinary 403
        assert "status 403" in str(caught.value)
        return
    assert isinstance(caught.value, PostponedError)
    assert "taken as 86400 s" in str(caught.value)
    assert caught.value.until < time.time() + MAX_PAUSE_S + 1


def rows_of(*names: str, **columns: Any) -> bytes:
    buffer = io.BytesIO()
    images = [{"bytes": picture(name).data, "path": None} for name in names]
    pq.write_table(pa.table({"image": images, **columns}), buffer)
    return buffer.getvalue()


def test_parquet_assets_with_images_are_read_row_by_row(github: GitHubService, tmp_path: Path) -> None:
    assets = {
        "x.parquet": rows_of("a", "b", yazi=["bir", None]), "damaged.parquet": rows_of("c")[:-9],
        "two.parquet": rows_of("a", png=[b"x"]), "none.parquet": rows_of(), "b.jpg": picture("one").data,
    }  # fmt: skip
    github.release("org/pics", "v2", assets)
    spec = spec_of(text_column="yazi")
    listed = listed_of(tmp_path, spec)
    assert {name: one.container for name, one in slices_of(listed).items()} == {
        "x.parquet": True, "files": False,
    }  # fmt: skip
    left_out = {one.key: one.detail for one in listed.left_out}
    assert left_out.keys() == {"two.parquet", "none.parquet", "damaged.parquet"}
    assert left_out["none.parquet"] == "it has no rows"
    assert left_out["two.parquet"].startswith("two.parquet: several image columns: image, png;")
    assert left_out["damaged.parquet"].startswith("damaged.parquet: cannot be read (")
    fetched = fetch_slice(SOURCE, spec, tmp_path, listed, "x.parquet")
    assert fetched.images == [picture("a").data, picture("b").data]
    assert [(r.key, r.text, r.origin) for r in fetched.records] == [
        ("x.parquet/0", "bir", "github://org/pics/x.parquet#row=0"),
        ("x.parquet/1", None, "github://org/pics/x.parquet#row=1"),
    ]
    asked = [one.path for one in github.requests("*x.parquet")]
    assert identities(listed_of(tmp_path, spec)) == identities(listed)
    assert [one.path for one in github.requests("*x.parquet")] == asked
