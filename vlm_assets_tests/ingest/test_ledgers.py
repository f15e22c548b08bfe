import math
import time
from typing import Any

import pytest

from vlm_assets.ingest.ledgers import Ledgers
from vlm_assets.store.slices import ItemEntry, RejectEntry
from vlm_assets.words.errors import Reject, RejectReason, RejectToleranceError
from vlm_assets.words.records import Item
from vlm_assets.words.tolerance import Tolerance
from vlm_assets_tests.workplace import expect_error

HOUR_S = 3600
IN_TEN_DAYS = math.floor(time.time()) + 10 * 86400 + 0.5


@pytest.mark.parametrize(
    ("earlier", "said", "attempts", "due_after_h"),
    [
        pytest.param(0, {}, 1, None, id="final"),
        pytest.param(2, {}, 3, None, id="final_after_tries"),
        pytest.param(0, {"transient": True}, 1, 1, id="first"),
        pytest.param(1, {"transient": True}, 2, 4, id="second"),
        pytest.param(2, {"transient": True}, 3, 16, id="third"),
        pytest.param(9, {"transient": True}, 10, 7 * 24, id="weekly"),
        pytest.param(0, {"transient": True, "not_before": 1.0}, 1, 1, id="a_wish_that_is_over"),
        pytest.param(3, {"transient": True, "tries": 5}, 4, 64, id="one_try_left"),
        pytest.param(4, {"transient": True, "tries": 5}, 5, None, id="out_of_tries"),
    ],
)
def test_attempts_and_the_next_one_are_the_ledgers_business(earlier, said, attempts, due_after_h):
    before = time.time()
    entry = entered(earlier, **said)
    assert (entry.attempts, entry.transient) == (attempts, due_after_h is not None)
    if due_after_h is None:
        assert entry.next_retry == 0
    else:
        assert int(before) <= entry.next_retry - due_after_h * HOUR_S <= time.time()


def test_a_kept_item_keeps_what_was_noted_of_it():
    ledgers = Ledgers("street/all", {})
    ledgers.keep(ItemEntry("a.pdf", "1", fetched=True, records=3, rows=3, remarks='{"no_text":2}'), [])
    row: dict[str, Any] = {"remarks": {"no_text": 1}}
    assert list(ledgers.count(Item("b.pdf"), iter([row]))) == [{}]
    assert ledgers.figures()["remarks"] == {"no_text": 3}


def test_nothing_is_due_before_upstream_allows_it():
    assert entered(0, transient=True, not_before=IN_TEN_DAYS).next_retry == math.ceil(IN_TEN_DAYS)


def test_caption_rows_of_kept_items_add_up_with_fresh_ones():
    ledgers = Ledgers("street/archives", {})
    ledgers.keep(
        ItemEntry("x.zip", "", fetched=True, records=1, rows=1, caption_rows='{"joined":1,"name_nothing":2}'),
        (),
    )
    list(ledgers.count(Item("y.zip"), iter(())))
    list(ledgers.count(Item("z.zip"), iter(())))
    ledgers.enter_left_out({}, {}, {"y.zip": {"joined": 3, "name_nothing": 0}})
    assert ledgers.figures()["caption_rows"] == {"joined": 4, "name_nothing": 2}
    assert [one.caption_rows is None for one in ledgers.items] == [False, False, True]


@pytest.mark.parametrize(("count", "told"), [(4, ""), (7, "\n  and 2 more")], ids=["few", "many"])
def test_a_message_names_the_first_five_rejects(count, told):
    ledgers = Ledgers("pictures/root", {})
    for number in range(count):
        reject = Reject(f"{number}.jpg", RejectReason.TRUNCATED, "12 of 40 kB")
        list(ledgers.count(Item(reject.item), iter([reject])))
    message = expect_error(
        lambda: ledgers.check_tolerance(60, Tolerance(0.05), lambda: "catalog/sources/pictures.yaml"),
        RejectToleranceError,
    )
    named = "".join(f"\n  {number}.jpg: truncated: 12 of 40 kB" for number in range(min(count, 5)))
    assert f"nothing was committed:{named}{told}\nMend the source, or write `reject_tolerance: " in message
    assert message.endswith("` to the entry pictures in catalog/sources/pictures.yaml.")


def entered(earlier: int, **said: Any) -> RejectEntry:
    ledgers = Ledgers("street/all", {"a.jpg": earlier} if earlier else {})
    rejects = iter([Reject("a.jpg", RejectReason.UNREACHABLE, "no answer", **said)])
    assert list(ledgers.count(Item("a.jpg"), rejects)) == []
    [entry] = ledgers.rejects
    assert (entry.key, entry.record, entry.reason) == ("a.jpg", None, RejectReason.UNREACHABLE)
    return entry
