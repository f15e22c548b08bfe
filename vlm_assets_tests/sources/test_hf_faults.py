"""A Hub that fails, refuses, limits its clients or gives other bytes than it promised."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vlm_assets.demo.services.base import Fault
from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.pictures import picture
from vlm_assets.words.errors import RejectReason, SourceError
from vlm_assets_tests.sources.hub_sets import fetched_of, listed_of, names_of, parquet, spec_of
from vlm_assets_tests.sources.kit import (
    settings_of,
    silence_timeout_s,
)
from vlm_assets_tests.transfer.gate_log import GateLog, shortest_gap_s

TOKEN = "hf_" + "s3cr3t" * 6
Script = Callable[[HubService], list[Fault]]
FAULTS: dict[str, tuple[str, Fault]] = {
    "info-429": ("hub", Fault("/api/datasets/org/set", "429", 2, retry_after_s=1)),
    "info-503": ("hub", Fault("/api/datasets/org/set", "503", 1)),
    "info-cut": ("hub", Fault("/api/datasets/org/set", "cut", 1)),
    "tree-429": ("hub", Fault("*/tree/*", "429", 1, retry_after_s=1)),
    "tree-stall": ("hub", Fault("*/tree/*", "stall", 1)),
    "head-429": ("hub", Fault("*/resolve/*/train.parquet", "429", 1, retry_after_s=1)),
    "head-503": ("hub", Fault("*/resolve/*/train.parquet", "503", 2)),
    "body-429": ("storage", Fault("*", "429", 1, retry_after_s=1)),
    "body-cut": ("storage", Fault("*", "cut", 1)),
    "body-stall": ("storage", Fault("*", "stall", 1)),
    "body-corrupt": ("storage", Fault("*", "corrupt", 1)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_recovered(hub: HubService, tmp_path: Path, name: str) -> None:
    hub.add("org/set", {"train.parquet": parquet(names_of("a", 9))})
    where, fault = FAULTS[name]
    service = hub if where == "hub" else hub.storage
    service.faults.append(Fault(fault.path, fault.kind, fault.times, fault.retry_after_s))
    settings = settings_of(tmp_path, http_timeout_s=silence_timeout_s(fault.kind))
    fetched = fetched_of(tmp_path, "default--train", settings=settings)
    assert fetched.images == [picture(n).data for n in names_of("a", 9)]
    assert all(left.times == 0 for left in service.faults)
    if fault.retry_after_s:
        asked = service.requests(fault.path)
        refused = [i for i, entry in enumerate(asked) if entry.status == 429]
        assert len(refused) == fault.times
        for i in refused:
            assert asked[i + 1].at - asked[i].at >= fault.retry_after_s


def test_the_hubs_own_rate_limit_headers_are_obeyed(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"train.parquet": parquet(["a"])})
    headers = {"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    hub.faults.append(Fault("/api/datasets/org/set", "429", 1, headers=headers))
    listed_of(tmp_path)
    first, second = hub.requests("/api/datasets/org/set")
    assert second.at - first.at >= 1


def test_a_rate_holds_over_all_requests(hub: HubService, tmp_path: Path, gate_log: GateLog) -> None:
    hub.add("org/set", {f"a/{n}.jpg": picture(f"{n}").data for n in range(4)})
    fetched_of(tmp_path, "default--train", spec_of(requests_per_second=20))
    assert len(hub.log) >= 6
    assert len(gate_log.let_go()) == len(hub.log) + len(hub.storage.log)
    for service in (hub, hub.storage):
        assert shortest_gap_s(gate_log.let_go(f"127.0.0.1:{service.port}")) > 0.0499


def test_forced_files_are_asked_for_again(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"train.parquet": parquet(["a"])})
    for _ in range(2):
        fetched_of(tmp_path, "default--train", force=True)
    assert len(hub.storage.log) == 2


def test_a_wrong_checksum_never_gets_in(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"train.parquet": parquet(names_of("a", 9))})
    hub.storage.faults.append(Fault("*", "corrupt", 100))
    with pytest.raises(SourceError, match="does not hash to"):
        fetched_of(tmp_path, "default--train")
    assert len(hub.storage.log) == 2
    hub.storage.faults.clear()
    assert len(fetched_of(tmp_path, "default--train").images) == 9


def test_a_file_damaged_in_the_cache_is_forced_once(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"train.parquet": parquet(names_of("a", 9)), "test.parquet": parquet(["t"])})
    first = fetched_of(tmp_path, "default--train").content()
    (blob,) = [p for p in (tmp_path / "cache/spool/default--train").rglob("blobs/*") if p.is_file()]
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"\x00")
    os.utime(blob, (time.time() - 5, time.time() - 5))
    hub.storage.clear_log()
    assert fetched_of(tmp_path, "default--train").content() == first
    assert len(hub.storage.log) == 1


def test_a_loose_image_with_a_wrong_checksum_is_a_reject(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"a/1.jpg": picture("1").data, "a/2.jpg": picture("2").data})
    hub.storage.faults.append(Fault("*", "corrupt", 2))
    fetched = fetched_of(tmp_path, "default--train", spec_of(max_concurrency=1))
    assert [(r.reason, r.transient) for r in fetched.rejects] == [(RejectReason.CHECKSUM, True)]
    assert len(fetched.images) == 1


@pytest.mark.parametrize(
    ("access", "token", "advice"),
    [
        ("gated", "", "is gated and no token is set: accept its terms at .*/datasets/org/set"),
        ("gated", "wrong", "is gated with the given token"),
        ("private", "", "does not exist or is private and no token is set"),
        ("missing", TOKEN, "does not exist or is private with the given token"),
    ],
)
def test_refusals_say_what_to_do(
    hub: HubService, tmp_path: Path, access: str, token: str, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    if access != "missing":
        hub.add("org/set", {"train.parquet": parquet(["a"])}, access=access, token=TOKEN)
    caplog.set_level("DEBUG")
    with pytest.raises(SourceError, match=advice) as caught:
        fetched_of(tmp_path, "default--train", settings=settings_of(tmp_path, hf_token=token or None))
    chain = [caught.value, caught.value.__cause__, caught.value.__context__]
    secret = token or "(none)"
    assert not any(secret in str(error) for error in chain)
    assert secret not in caplog.text


def test_the_token_opens_and_leaves_no_trace(
    hub: HubService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add("org/set", {"train.parquet": parquet(["a"])}, access="gated", token=TOKEN)
    caplog.set_level("DEBUG")
    settings = settings_of(tmp_path, hf_token=TOKEN, http_timeout_s=silence_timeout_s("stall"))
    hub.storage.faults += [Fault("*", "cut", 1), Fault("*", "stall", 1), Fault("*", "503", 1)]
    listed = listed_of(tmp_path, settings=settings)
    fetched = fetched_of(tmp_path, "default--train", settings=settings)
    assert len(fetched.images) == 1
    assert any(entry.headers.get("authorization") for entry in hub.log)
    assert not any(entry.headers.get("authorization") for entry in hub.storage.log)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (TOKEN, "signed-and-secret"):
        assert secret not in caplog.text + repr(listed) + repr(fetched.events)
        assert secret.encode() not in kept


@pytest.mark.parametrize("cut", [100, 2000])
def test_a_truncated_data_file_fails_the_slice(hub: HubService, tmp_path: Path, cut: int) -> None:
    hub.add("org/set", {"train.parquet": parquet(names_of("a", 9))[:-cut]})
    with pytest.raises(SourceError, match="cannot be read to its end"):
        fetched_of(tmp_path, "default--train")
