import os
import signal
import subprocess
import sys

import pytest

from vlm_assets.transfer.slots import HostGate

NOW = 1_800_000_000.0
HOLD = """
import sys
from pathlib import Path
from vlm_assets.transfer.slots import HostGate
gate = HostGate(Path(sys.argv[1]), "a.org")
print([gate.take_slot(2) for _ in range(2)], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def gates(tmp_path):
    """Two gates of one host, as two processes would have them."""
    pair = HostGate(tmp_path, "a.org"), HostGate(tmp_path, "a.org")
    yield pair
    for gate in pair:
        gate.close()


def test_slots_hold_across_gates(gates):
    one, two = gates
    assert [one.take_slot(2), one.take_slot(2), one.take_slot(2)] == [1, 0, None]
    assert two.take_slot(2) is None
    assert two.take_slot(3) == 2
    one.free_slot(1)
    assert two.take_slot(2) == 1


def test_who_waits_is_seen(gates):
    one, two = gates
    one.take_slot(1)
    assert not one.contended
    assert two.take_slot(1) is None
    assert one.contended
    one.free_slot(0)
    assert two.take_slot(1) == 0
    assert not one.contended


def test_the_rate_is_shared(gates):
    one, two = gates
    now = NOW
    assert one.try_start(now, 2.0) == 0
    assert two.try_start(now + 0.5, 2.0) == pytest.approx(now + 2)
    assert two.try_start(now + 2, 2.0) == 0
    assert one.try_start(now + 2, 2.0) == pytest.approx(now + 4)


def test_a_pause_binds_everyone_and_a_shorter_one_does_not_end_it(gates):
    one, two = gates
    now = NOW
    one.pause(now, now + 10)
    two.pause(now, now + 5)
    assert two.try_start(now + 9, 0.0) == pytest.approx(now + 10)
    assert one.paused_until(now) == pytest.approx(now + 10)
    assert two.try_start(now + 10.1, 0.0) == 0


BACK_S = [pytest.param(2.0, id="2-s"), pytest.param(86_400.0, id="a-day"), pytest.param(6e8, id="years")]


@pytest.mark.parametrize("back_s", BACK_S)
def test_a_clock_set_back_makes_no_rate_slower(gates, back_s):
    one, two = gates
    assert one.try_start(NOW + back_s, 0.5) == 0
    assert two.try_start(NOW, 0.5) == NOW + 0.5
    assert two.try_start(NOW + 0.5, 0.5) == 0


@pytest.mark.parametrize("back_s", BACK_S)
def test_a_clock_set_back_leaves_a_pause_as_long_as_it_was(gates, back_s):
    one, two = gates
    one.pause(NOW + back_s, NOW + back_s + 5)
    assert two.try_start(NOW, 0.0) == NOW + 5
    assert one.paused_until(NOW + 4) == NOW + 5
    assert one.try_start(NOW + 5, 0.0) == 0


def test_clocks_that_differ_by_little_are_one(gates):
    one, two = gates
    one.pause(NOW + 0.9, NOW + 5)
    assert two.paused_until(NOW) == NOW + 5


def test_a_record_of_an_earlier_release_holds_nobody_up(gates, tmp_path):
    one, _ = gates
    one.pause(NOW, NOW + 5)
    [path] = tmp_path.rglob("gate")
    os.truncate(path, 16)
    assert one.try_start(NOW, 1.0) == 0


def test_a_killed_process_frees_its_slots_at_once(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "[1, 0]"
    gate = HostGate(tmp_path, "a.org")
    assert gate.take_slot(2) is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert gate.take_slot(2) == 1
    gate.close()
