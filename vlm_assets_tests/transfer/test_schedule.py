import pytest
from yarl import URL

from vlm_assets.transfer.politeness import HostLimits, Patience
from vlm_assets.transfer.schedule import Job, Schedule
from vlm_assets.transfer.slots import HostGate
from vlm_assets.words.errors import RejectReason

PATIENCE = Patience(attempts=3, base_s=1.0, cap_s=60.0, max_wait_s=600.0)
NOW = 1_800_000_000.0


@pytest.fixture
def make(tmp_path):
    made: list[Schedule] = []

    def schedule(concurrency: int = 2, interval_s: float = 0.0, **hosts: int) -> Schedule:
        made.append(
            Schedule(
                lambda name: HostGate(tmp_path, name),
                HostLimits(concurrency, interval_s),
                PATIENCE,
                start_narrow=False,
            )
        )
        for host, jobs in hosts.items():
            for index in range(jobs):
                made[-1].add(host, Job(index, f"{host}{index}", URL(f"http://{host}/{index}")))
        return made[-1]

    yield schedule
    for each in made:
        each.close()


def drain(schedule: Schedule, now: float) -> list[str]:
    keys = []
    while (turn := schedule.take(now)) is not None:
        keys.append(turn.job.key)
    return keys


def test_hosts_take_turns_within_their_width(make):
    assert drain(make(a=4, b=1, c=2), NOW) == ["a0", "b0", "c0", "a1", "c1"]


def test_a_release_lets_the_next_go(make):
    schedule = make(concurrency=1, a=2)
    turn = schedule.take(NOW)
    assert schedule.take(NOW) is None
    schedule.release(turn)
    assert drain(schedule, NOW) == ["a1"]
    assert schedule.empty


def test_the_rate_spaces_starts(make):
    schedule = make(interval_s=2.0, a=3)
    assert drain(schedule, NOW) == ["a0"]
    assert schedule.wake_at == NOW + 2
    assert drain(schedule, NOW + 1.9) == []
    assert drain(schedule, NOW + 2) == ["a1"]


def test_delayed_jobs_wait_while_others_go(make):
    schedule = make(a=1)
    schedule.add_later("a", Job(9, "late", URL("http://a/9")), NOW + 5)
    turn = schedule.take(NOW)
    assert turn.job.key == "a0"
    assert schedule.take(NOW) is None
    assert schedule.wake_at == NOW + 5
    assert drain(schedule, NOW + 5) == ["late"]


def test_failures_in_flight_together_count_once_and_a_dead_host_is_given_up_whole(make):
    schedule = make(concurrency=4, a=10)
    host = schedule.host("a")
    now = NOW
    for wave in range(1, PATIENCE.attempts + 1):
        turns = []
        while (turn := schedule.take(now)) is not None:
            turns.append(turn)
        assert len(turns) == (4 if wave == 1 else 1)
        for turn in turns:
            host.failed(now, now + 1, "connect: refused", PATIENCE, 0.5)
            schedule.add("a", turn.job)
            schedule.release(turn)
        assert host.waves == wave
        now += 100
    assert schedule.take(now) is None
    assert len(schedule.given_up) == 10
    assert {(v.reason, v.transient) for _, v in schedule.given_up} == {(RejectReason.UNREACHABLE, True)}
    assert schedule.empty


def test_any_answer_forgives(make):
    host = make(concurrency=4, a=1).host("a")
    for second in range(0, 40, 2):
        host.failed(NOW + second, NOW + second + 1, "x", PATIENCE, 0.5)
        host.succeeded(NOW + second + 1)
    assert not host.dead
    host.failed(NOW, NOW + 50, "began before the last good answer", PATIENCE, 0.5)
    assert host.waves == 0


def test_a_host_that_says_slow_down_gets_less(make):
    host = make(concurrency=8, a=1).host("a")
    host.slow_down()
    assert host.width == 4
    for _ in range(19):
        host.succeeded(NOW)
    assert host.width == 4
    host.succeeded(NOW)
    assert host.width == 5


def test_a_host_that_wants_too_long_a_pause_is_given_up(make):
    schedule = make(a=3, b=1)
    schedule.host("a").gate.pause(NOW, NOW + 601)
    assert drain(schedule, NOW) == ["b0"]
    assert {v.not_before for _, v in schedule.given_up} == {NOW + 601}
    assert len(schedule.given_up) == 3


def test_slots_taken_elsewhere_are_waited_for(make, tmp_path):
    schedule = make(concurrency=1, a=1)
    other = HostGate(tmp_path, "a")
    assert other.take_slot(1) == 0
    assert schedule.take(NOW) is None
    assert NOW < schedule.wake_at < NOW + 0.1
    other.free_slot(0)
    assert drain(schedule, NOW + 0.1) == ["a0"]
    other.close()


def test_who_has_slots_lets_others_in(make, tmp_path):
    schedule = make(concurrency=2, a=9)
    first = schedule.take(NOW)
    schedule.take(NOW)
    other = HostGate(tmp_path, "a")
    assert other.take_slot(2) is None
    schedule.release(first)
    assert schedule.take(NOW + 2) is None
    assert other.take_slot(2) is not None
    other.close()
