"""The decoder processes, disturbed by real signals."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

import vlm_assets
from vlm_assets.images.child import policy_from_json, policy_to_json
from vlm_assets.images.facts import BadImageError
from vlm_assets.images.pool import DecoderPool
from vlm_assets.images.probe import ImageFacts, ImageFault, ProbePolicy
from vlm_assets.words.errors import OperationError, RejectReason
from vlm_assets_tests.images.pictures import EVERYTHING, animation, encoded, picture, prober
from vlm_assets_tests.waiting import HANG_S, until

GIF = encoded(picture(), "GIF")
OTHER = encoded(picture(80, 60), "GIF")
ROOT = Path(vlm_assets.__file__).parent.parent


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


def stopped_probe(one, threads: ThreadPoolExecutor) -> tuple[int, Future]:
    """A probe whose child is stopped in the midst of it; and the child's pid."""
    one.probe(GIF)
    pid = stop_child(one)
    return pid, threads.submit(one.probe, OTHER)


def asked(one) -> bool:
    """True as soon as the only child, found alive, has the other image in its shared memory."""
    (child,) = one._pool._all
    return until(lambda: os.fstat(child._shared).st_size == len(OTHER), "the request")


DECODERS = {
    "crashes": "lambda *_, **__: os.kill(os.getpid(), int(sys.argv[-1]))",
    "spins": "lambda *_, **__: next(None for n in itertools.count() if n < 0)",
    "sleeps": "lambda *a, **k: time.sleep(1.5) or probe(*a, **k)",
}


def decode_by(decoder: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    """Children decode by this function instead."""
    program = (
        "import itertools, os, sys, time; sys.path.insert(0, sys.argv[1]); "
        "from vlm_assets.images import child, decode; probe = decode.probe_decoded; "
        f"decode.probe_decoded = {DECODERS[decoder]}; given = sys.argv[2:]; "
        f"sys.argv += {[str(value) for value in arguments]}; child.main(given)"
    )
    monkeypatch.setattr("vlm_assets.images.pool._PROGRAM", program)


@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_child_that_dies_once_costs_nothing(deadly):
    with prober() as one, ThreadPoolExecutor(1) as threads:
        pid, answer = stopped_probe(one, threads)
        assert asked(one)
        os.kill(pid, deadly)
        os.kill(pid, signal.SIGCONT)
        assert isinstance(answer.result(HANG_S), ImageFacts)
        assert one._pool.pids() != [pid]


@pytest.mark.parametrize(
    ("deadly", "transient"), [(signal.SIGKILL, True), (signal.SIGSEGV, False), (signal.SIGABRT, False)]
)
def test_a_decoder_that_dies_twice_costs_one_reject(deadly, transient, monkeypatch):
    with prober() as one:
        with monkeypatch.context() as patched:
            decode_by("crashes", patched, int(deadly))
            fault = one.probe(GIF)
        assert isinstance(fault, ImageFault)
        assert (fault.reason, fault.transient) == (RejectReason.DECODER_CRASHED, transient)
        assert str(-deadly) in fault.detail
        assert isinstance(one.probe(GIF), ImageFacts)


def test_a_hang_costs_one_transient_reject_and_the_child_is_replaced():
    with prober() as one:
        one.probe(GIF)
        patient = one._pool._policy
        one._pool._policy = replace(patient, decoder_hang_s=0.2)
        pid = stop_child(one)
        fault = one.probe(OTHER)
        one._pool._policy = patient
        assert isinstance(fault, ImageFault)
        assert (fault.reason, fault.transient) == (RejectReason.DECODER_TIMEOUT, True)
        assert gone(pid)
        assert isinstance(one.probe(GIF), ImageFacts)


def test_processor_time_that_is_used_up_is_a_transient_reject(monkeypatch):
    with prober(decoder_cpu_s=0.2) as one:
        with monkeypatch.context() as patched:
            decode_by("spins", patched)
            fault = one.probe(GIF)
        assert isinstance(fault, ImageFault)
        assert (fault.reason, fault.transient) == (RejectReason.DECODER_TIMEOUT, True)
        assert "processor time" in fault.detail
        assert isinstance(one.probe(GIF), ImageFacts)


def test_no_clock_rejects_a_slow_decode(monkeypatch):
    decode_by("sleeps", monkeypatch)
    with prober(decoder_cpu_s=0.2) as one:
        assert isinstance(one.probe(GIF), ImageFacts)


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
        pid, answer = stopped_probe(one, threads)
        assert asked(one)
        one.close()
        with pytest.raises(OperationError, match="closed"):
            answer.result(HANG_S)
        assert gone(pid)


def test_ctrl_c_and_stop_leave_the_child_at_work():
    with prober() as one:
        one.probe(GIF)
        (pid,) = one._pool.pids()
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        assert isinstance(one.probe(GIF), ImageFacts)
        assert one._pool.pids() == [pid]


def test_a_child_outlives_the_thread_that_started_it():
    with prober() as one:
        starter = threading.Thread(target=one.probe, args=(GIF,))
        starter.start()
        starter.join()
        (pid,) = one._pool.pids()
        assert isinstance(one.probe(GIF), ImageFacts)
        assert one._pool.pids() == [pid]


ORPHAN = """
import sys
from vlm_assets_tests.images.pictures import encoded, picture, prober
one = prober(decoder_hang_s=5.0)
one.probe(encoded(picture(), "GIF"))
print(*one._pool.pids(), flush=True)
sys.stdin.read()
"""


def test_children_do_not_outlive_a_killed_parent():
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    assert gone(pid)


HANGING = """
import os, sys, time
from vlm_assets.images import child, decode
def hang(*args, **options):
    while True: time.sleep(float(os.environ["IDLE"]))
decode.probe_decoded = hang
child.main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("bound", "idle_s", "ended_by"),
    [("decoder_cpu_s", 0, signal.SIGXCPU), ("decoder_hang_s", 1, signal.SIGALRM)],
)
def test_a_decode_without_end_ends_by_itself_where_nobody_is_left_to_kill_it(bound, idle_s, ended_by):
    shared = os.memfd_create("test")
    changes: dict[str, Any] = {bound: 0.1}
    policy = policy_to_json(ProbePolicy(EVERYTHING, **changes))
    command = [sys.executable, "-c", HANGING, str(shared), policy]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[shared],
        cwd=ROOT,
        env={**os.environ, "IDLE": str(idle_s)},
    ) as child:
        os.close(shared)
        assert child.stdin is not None
        child.stdin.write(b"GIF 0\n")
        child.stdin.flush()
        try:
            assert child.wait(HANG_S) == -ended_by
        finally:
            child.kill()


def test_a_child_that_cannot_start_is_no_fault_of_the_image(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with prober() as one, pytest.raises(OperationError, match="decoder process"):
        one.probe(GIF)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with prober() as one, pytest.raises(OperationError, match="did not start"):
        one.probe(GIF)


def test_a_fault_keeps_the_child():
    with DecoderPool(ProbePolicy(EVERYTHING, multi_frame="reject"), children=1) as pool:
        pool.probe("GIF", GIF)
        before = pool.pids()
        with pytest.raises(BadImageError) as caught:
            pool.probe("GIF", animation("GIF", 2))
        assert caught.value.reason is RejectReason.MULTI_FRAME
        assert pool.pids() == before


def test_the_policy_survives_the_command_line():
    policy = ProbePolicy(frozenset({"GIF", "PPM"}), verify="header", max_pixels=5, decoder_cpu_s=0.25)
    assert policy_from_json(policy_to_json(policy)) == policy
