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
            host.failed(turn.job, now, now + 1, "connect: refused", PATIENCE, 0.5)
            schedule.add("a", turn.job)
            schedule.release(turn)
        assert host.waves == wave
        now += 100
    assert schedule.take(now) is None
    assert len(schedule.put_off) == 10
    assert {(v.reason, v.transient) for _, _, v in schedule.put_off} == {(RejectReason.UNREACHABLE, True)}
    assert schedule.empty


def test_any_answer_forgives(make):
    schedule = make(concurrency=4, a=9)
    host, jobs = schedule.host("a"), [schedule.take(NOW).job for _ in range(4)]
    for second in range(0, 40, 2):
        for job in jobs:
            host.failed(job, NOW + second, NOW + second + 1, "x", PATIENCE, 0.5)
        host.succeeded(NOW + second + 1)
    assert host.given_up is None
    host.failed(jobs[0], NOW, NOW + 50, "began before the last good answer", PATIENCE, 0.5)
    assert (host.waves, host.failing) == (0, set())


@pytest.mark.parametrize(("urls", "given_up"), [(1, False), (4, False), (5, True), (9, True)])
def test_a_host_is_given_up_on_the_evidence_of_several_urls(make, urls, given_up):
    schedule = make(concurrency=1, a=20)
    host = schedule.host("a")
    jobs = [Job(index, f"a{index}", URL(f"http://a/{index}")) for index in range(urls)]
    for second in range(0, 100, 2):
        host.failed(jobs[second // 2 % urls], NOW + second, NOW + second + 1, "status 500", PATIENCE, 0.5)
    assert (host.given_up is not None) == given_up


def test_one_url_alone_does_not_slow_its_host_down(make):
    schedule = make(concurrency=4, a=9)
    host, job = schedule.host("a"), schedule.take(NOW).job
    for second in range(0, 20, 2):
        host.failed(job, NOW + second, NOW + second + 1, "status 500", PATIENCE, 0.5)
    assert (host.width, host.resting_until) == (4, 0.0)
    host.failed(Job(8, "a8", URL("http://a/8")), NOW + 30, NOW + 31, "status 500", PATIENCE, 0.5)
    assert host.width == 1
    assert host.resting_until > NOW + 31


def test_a_host_in_doubt_is_asked_all_over_its_queue(make):
    schedule = make(concurrency=1, a=1000)
    host, asked = schedule.host("a"), []
    for second in range(0, 40, 2):
        turn = schedule.take(NOW + 1000 * second)
        if turn is None:
            break
        asked.append(turn.job.index)
        now = NOW + 1000 * second
        host.failed(turn.job, now, now + 1, "status 500", Patience(12, 1.0, 60.0, 600.0), 0.5)
        schedule.release(turn)
    assert len(asked) >= 10
    assert max(asked) > 900
    assert sum(index > 300 for index in asked) >= 5


def test_what_failed_has_another_turn_after_others(make):
    schedule = make(concurrency=1, a=100)
    first = schedule.take(NOW)
    schedule.release(first)
    schedule.add_later("a", first.job, NOW + 1)
    order = []
    for _ in range(40):
        turn = schedule.take(NOW + 2)
        order.append(turn.job.index)
        schedule.release(turn)
    assert order.index(first.job.index) == 32


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
    assert {v.not_before for _, _, v in schedule.put_off} == {NOW + 601}
    assert len(schedule.put_off) == 3


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


YEARS_S = 20 * 365 * 86_400.0


@pytest.mark.parametrize("back_s", [7_200.0, YEARS_S])
def test_a_clock_that_is_set_back_under_the_run_makes_nothing_wait_for_it(make, back_s):
    schedule = make(a=1, b=1)
    schedule.add_later("a", Job(9, "late", URL("http://a/9")), NOW + 5)
    schedule.host("b").resting_until = NOW + 7
    assert drain(schedule, NOW) == ["a0"]
    now = NOW - back_s
    assert drain(schedule, now) == []
    assert schedule.wake_at == now + 5
    assert drain(schedule, now + 5) == ["late"]
    assert drain(schedule, now + 7) == ["b0"]
    assert schedule.empty


def test_a_clock_that_is_corrected_by_little_shifts_nothing(make):
    schedule = make(a=0)
    schedule.add_later("a", Job(9, "late", URL("http://a/9")), NOW + 5)
    for now in (NOW, NOW - 0.5, NOW - 0.9, NOW + 4.9):
        assert drain(schedule, now) == []
    assert schedule.wake_at == NOW + 5


@pytest.mark.parametrize("jump_s", [-YEARS_S, YEARS_S, -7_200.0])
def test_a_host_is_given_up_for_as_many_failures_as_before_a_jump(make, jump_s):
    schedule = make(concurrency=1, a=20)
    host = schedule.host("a")
    jobs = [Job(index, f"a{index}", URL(f"http://a/{index}")) for index in range(9)]
    host.succeeded(NOW)
    drain(schedule, NOW)
    drain(schedule, NOW + jump_s)
    for second in range(2, 60, 2):
        at = NOW + jump_s + second
        host.failed(jobs[second // 2 % 9], at, at + 1, "status 500", PATIENCE, 0.5)
    assert host.waves == 29
