"""What a failed step is told by."""

import pytest
from dagster_shared.error import SerializableErrorInfo

from vlm_assets.orchestration.run.runs import cause_told

STEP = ("DagsterExecutionStepExecutionError", "Error occurred while executing op")
STORE = ("StoreError", "vlm_assets.words.errors.StoreError: /data/plan.arrow: cannot be written")
SHORT = "StoreError: /data/plan.arrow: cannot be written"
STATEMENT = (
    "\n[SQL: INSERT INTO event_logs (run_id) VALUES (?)]\n[parameters: ('e61937a6',)]"
    "\n(Background on this error at: https://sqlalche.me/e/21/e3q8)"
)
GONE = "sqlalchemy.exc.OperationalError: (psycopg2.OperationalError) server closed the connection\n\tbefore its end\n"
STAYS = "what is committed stays valid"
DISK = ("OSError", "OSError: [Errno 5] Input/output error")
FAILURE = ("Failure", "dagster._core.definitions.events.Failure: 1 of 2 slices of street failed")
RETRY = ("RetryRequestedFromPolicy", "")


def error_of(*chain: tuple[str, str]) -> SerializableErrorInfo:
    """An error and its causes, the outermost first."""
    made = None
    for name, message in reversed(chain):
        made = SerializableErrorInfo(f"{message}\n", [], name, made)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("chain", "told"),
    [
        pytest.param((STEP, STORE, DISK), SHORT, id="ours-names-the-place"),
        pytest.param((STEP, RETRY, STORE, DISK), SHORT, id="asked-for-again"),
        pytest.param((STEP, ("ValueError", "ValueError: odd")), "ValueError: odd", id="anothers"),
        pytest.param(
            (STEP, ("ClientError", "botocore.exceptions.ClientError: no")), "ClientError: no", id="no-modules"
        ),
        pytest.param(
            (STEP, DISK),
            "StoreError: A file below /home/d or the data root: cannot be written (Input/output error); "
            f"{STAYS}: see to the disk, then run it again",
            id="disk-without-a-place",
        ),
        pytest.param(
            (STEP, ("OSError", "OSError: [Errno 28] No space left on device: '/x/y'")),
            "DiskFullError: /x/y: cannot be written (No space left on device); "
            f"{STAYS}: make room, then run it again",
            id="disk-full",
        ),
        pytest.param(
            (STEP, ("FileNotFoundError", "FileNotFoundError: [Errno 2] No such file or directory: '/x/y'")),
            "FileNotFoundError: [Errno 2] No such file or directory: '/x/y'",
            id="not-of-the-disk",
        ),
        pytest.param(
            (STEP, ("OperationalError", GONE + STATEMENT), ("OperationalError", GONE)),
            "StoreError: /home/d: Dagster's storage says: server closed the connection before its end; is its server "
            "up?",
            id="storage-without-its-statement",
        ),
        pytest.param((FAILURE,), "1 of 2 slices of street failed", id="told"),
        pytest.param((STEP, FAILURE, STORE), "1 of 2 slices of street failed", id="told-with-its-cause"),
        pytest.param((STEP,), STEP[1], id="nothing-else"),
    ],
)
def test_the_place_is_named(chain: tuple[tuple[str, str], ...], told: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DAGSTER_HOME", "/home/d")
    assert cause_told(error_of(*chain)) == told
