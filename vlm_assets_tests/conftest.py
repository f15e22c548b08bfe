"""For all tests. Properties are judged by what holds, never by how long a busy machine took to find out."""

import gc
import signal
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from vlm_assets_tests.sharing import made_once
from vlm_assets_tests.training_environment import interpreter, make_environment

settings.register_profile("no_clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no_clock")


@pytest.fixture(scope="session")
def training_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with torch, TRL and Energon."""
    return interpreter(made_once(tmp_path_factory, "training", make_environment))


def pytest_configure() -> None:
    """Signals as of a terminal: a shell's `&` leaves SIGINT ignored, by which Dagster goes for SIGTERM too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_teardown() -> None:
    """No command that ran in this process still waits for a Ctrl-C: it would end this process by that of a test."""
    signal.set_wakeup_fd(-1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of few tests first: they hold the long ones, and no worker should end alone with one."""
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: tests[item.path])


def pytest_collection_finish() -> None:
    """What all the modules loaded is never garbage: each look at it takes a quarter of a second."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what tests recorded as `told`: how much was tried, and what came of it."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, told in getattr(report, "user_properties", ()):
                if name == "told" and getattr(report, "when", "") == "call":
                    terminalreporter.write_line(str(told))
