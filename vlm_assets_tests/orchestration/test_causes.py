"""What a failed step is told by."""

import pytest
from dagster_shared.error import SerializableErrorInfo

from vlm_assets.orchestration.run.runs import cause_told

STEP = ("DagsterExecutionStepExecutionError", "Error occurred while executing op")
STORE = ("StoreError", "vlm_assets.words.errors.StoreError: /data/plan.arrow: cannot be written")
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
        pytest.param((STEP, STORE, DISK), STORE[1], id="ours-names-the-place"),
        pytest.param((STEP, RETRY, STORE, DISK), STORE[1], id="asked-for-again"),
        pytest.param((STEP, DISK), DISK[1], id="anothers"),
        pytest.param((FAILURE,), "1 of 2 slices of street failed", id="told"),
        pytest.param((STEP, FAILURE, STORE), "1 of 2 slices of street failed", id="told-with-its-cause"),
        pytest.param((STEP,), STEP[1], id="nothing-else"),
    ],
)
def test_the_place_is_named(chain: tuple[tuple[str, str], ...], told: str):
    assert cause_told(error_of(*chain)) == told
