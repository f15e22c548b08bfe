"""The decoder processes, disturbed by real signals."""

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psutil
import pytest

from vlm_assets.images.facts import BadImageError
from vlm_assets.images.pool import DecoderPool
from vlm_assets.images.probe import ImageFacts, ImageFault, ProbePolicy
from vlm_assets.words.errors import MachineError, OperationError, RejectReason
from vlm_assets_tests.images.pictures import EVERYTHING, animation, encoded, picture, prober
from vlm_assets_tests.waiting import HANG_S, until

GIF = encoded(picture(), "GIF")
OTHER = encoded(picture(800, 600), "GIF")


def netpbm(comment: int) -> bytes:
    """An image for the broken decoders, which leave every other format alone; the comment is theirs to read."""
    return b"P6\n#%d\n2 2 255\n" % comment + bytes(12)


def gone(pid: int) -> bool:
    """True as soon as the process has ended."""

    def ended() -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return until(ended, f"the end of {pid}")


def stop_child(one) -> int:
    """Stops the only child, as if its decoder hung; its pid."""
    pid: int
    (pid,) = one._pool.pids()
    os.kill(pid, signal.SIGSTOP)
    return pid


def asked(one) -> bool:
    """True as soon as the only child, found alive, has the other, larger image in its shared memory."""
    (child,) = one._pool._workers._all
    return until(lambda: os.fstat(child._shared).st_size >= len(OTHER), "the request")


def decode_by(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children decode by this function of `broken_decoders` instead."""
    monkeypatch.setattr(
        "vlm_assets.images.pool._HANDLER", f"vlm_assets_tests.images.broken_decoders:{decoder}"
    )


@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_child_that_dies_once_costs_nothing(deadly):
    with prober() as one, ThreadPoolExecutor(1) as threads:
        one.probe(GIF)
        pid = stop_child(one)
        answer = threads.submit(one.probe, OTHER)
        assert asked(one)
        os.kill(pid, deadly)
        os.kill(pid, signal.SIGCONT)
        assert isinstance(answer.result(HANG_S), ImageFacts)
        assert one._pool.pids() != [pid]


@pytest.mark.parametrize(
    ("deadly", "transient"), [(signal.SIGKILL, True), (signal.SIGSEGV, False), (signal.SIGABRT, False)]
)
def test_a_decoder_that_dies_twice_costs_one_reject(deadly, transient, monkeypatch):
    decode_by("crashes", monkeypatch)
    with prober() as one:
        fault = one.probe(netpbm(deadly))
        assert isinstance(fault, ImageFault)
        assert (fault.reason, fault.transient) == (RejectReason.DECODER_CRASHED, transient)
        assert str(-deadly) in fault.detail
        assert isinstance(one.probe(GIF), ImageFacts)


def test_a_hang_costs_one_transient_reject_and_the_child_is_replaced():
    with prober() as one:
        one.probe(GIF)
        (child,) = one._pool._workers._all
        limits = replace(child._program.limits, silent_s=0.2)
        child._program = replace(child._program, limits=limits)
        pid = stop_child(one)
        fault = one.probe(OTHER)
        assert isinstance(fault, ImageFault)
        assert (fault.reason, fault.transient) == (RejectReason.DECODER_TIMEOUT, True)
        assert gone(pid)
        assert isinstance(one.probe(GIF), ImageFacts)


def test_processor_time_that_is_used_up_is_a_transient_reject(monkeypatch):
    decode_by("spins", monkeypatch)
    with prober(decoder_cpu_s=0.2) as one:
        fault = one.probe(netpbm(1))
        assert isinstance(fault, ImageFault)
        assert (fault.reason, fault.transient) == (RejectReason.DECODER_TIMEOUT, True)
        assert "processor time" in fault.detail
        assert isinstance(one.probe(GIF), ImageFacts)


def test_no_clock_rejects_a_slow_decode(monkeypatch):
    decode_by("sleeps", monkeypatch)
    with prober(decoder_cpu_s=0.2) as one:
        assert isinstance(one.probe(netpbm(1)), ImageFacts)


def test_an_error_of_the_decoder_is_a_corrupt_image_and_keeps_the_child(monkeypatch):
    decode_by("raises", monkeypatch)
    with prober() as one:
        one.probe(GIF)
        pids = one._pool.pids()
        fault = one.probe(netpbm(1))
        assert isinstance(fault, ImageFault)
        assert (fault.reason, fault.detail) == (RejectReason.CORRUPT, "ValueError: not today")
        assert one._pool.pids() == pids


def test_processor_time_is_counted_anew_for_every_image():
    """One child serves more images than the bound on one of them would allow."""
    large = encoded(picture(2400, 1800), "BMP")
    with prober(decoder_cpu_s=1.0) as one:
        one.probe(large)
        (pid,) = one._pool.pids()
        while sum(psutil.Process(pid).cpu_times()[:2]) < 3:
            assert isinstance(one.probe(large), ImageFacts)
        assert one._pool.pids() == [pid]


def test_a_child_that_died_while_idle_costs_nothing():
    with prober() as one:
        one.probe(GIF)
        (pid,) = one._pool.pids()
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
        assert isinstance(one.probe(GIF), ImageFacts)


def test_a_decode_beyond_the_memory_limit_is_a_bomb():
    header = b"P6 12000 12000 255\n"  # 432 MB of pixels, in Pillow's four bytes each 576 MB
    with prober(decoder_memory_bytes=400 * 2**20) as one:
        fault = one.probe(header + bytes(1000))
        assert isinstance(fault, ImageFault)
        assert fault.reason is RejectReason.BOMB
        assert isinstance(one.probe(GIF), ImageFacts)


def test_one_child_serves_many_images():
    with prober() as one:
        pids = set()
        for seed in range(10):
            assert isinstance(one.probe(encoded(picture(seed=seed), "BMP")), ImageFacts)
            pids.update(one._pool.pids())
        assert len(pids) == 1


def test_nothing_is_started_for_images_that_are_decoded_here():
    with prober() as one:
        for form in ("JPEG", "PNG", "WEBP"):
            one.probe(encoded(picture(), form))
        assert one._pool.pids() == []


def test_answers_are_not_mixed_up_between_threads():
    images = [
        (encoded(picture(10 + i, 20 + i), form), 10 + i)
        for i in range(24)
        for form in ("GIF", "TIFF", "JPEG", "PPM")
    ]
    with prober() as one, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(one.probe, [data for data, _ in images]))
        assert [a.width_px for a in answers if isinstance(a, ImageFacts)] == [width for _, width in images]
        assert 1 <= len(one._pool.pids()) <= (os.cpu_count() or 1)


def test_close_ends_the_children_and_blames_no_image():
    with ThreadPoolExecutor(1) as threads:
        one = prober()
        one.probe(GIF)
        pid = stop_child(one)
        answer = threads.submit(one.probe, OTHER)
        assert asked(one)
        one.close()
        with pytest.raises(OperationError, match="closed"):
            answer.result(HANG_S)
        assert gone(pid)


def test_a_child_that_cannot_start_is_no_fault_of_the_image(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with prober() as one, pytest.raises(OperationError, match="decoder process"):
        one.probe(GIF)


def test_a_child_whose_machine_fails_says_nothing_of_the_image(monkeypatch):
    decode_by("starved", monkeypatch)
    with prober() as one, pytest.raises(MachineError, match="reader of PPM was not loaded"):
        one.probe(netpbm(1))


def test_a_fault_keeps_the_child():
    with DecoderPool(ProbePolicy(EVERYTHING, multi_frame="reject"), children=1) as pool:
        pool.probe("GIF", GIF)
        before = pool.pids()
        with pytest.raises(BadImageError) as caught:
            pool.probe("GIF", animation("GIF", 2))
        assert caught.value.reason is RejectReason.MULTI_FRAME
        assert pool.pids() == before
