"""Annotations at the remote: pushed as they are, brought back, and gone with a takedown in every stored version."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from vlm_assets.allocation.committed import gather_supply
from vlm_assets.annotate.files import read_annotation
from vlm_assets.annotate.run import annotate
from vlm_assets.annotators.aspect import Aspect
from vlm_assets.catalog.annotations import AnnotationSpec
from vlm_assets.catalog.filters import FilterSpec
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.takedown import TakedownOrder, take_down
from vlm_assets.remote.backup import backup
from vlm_assets.remote.mirror import mirrored
from vlm_assets.remote.prune import PruneOrder, prune_remote
from vlm_assets.remote.restore import restore
from vlm_assets.remote.shared import SharedRemote
from vlm_assets_tests.annotate.in_process import annotate_in_process
from vlm_assets_tests.remote.conftest import NewRoot
from vlm_assets_tests.remote.s3 import S3Server

KEY = "annotations/aspect/street/a.parquet"


def annotating(installation: Installation) -> Installation:
    """The same machine under a catalogue that wants annotations."""
    catalog = installation.catalog
    corpus = catalog.corpus.model_copy(update={"annotations": (AnnotationSpec(name="aspect"),)})
    object.__setattr__(installation, "catalog", catalog.model_copy(update={"corpus": corpus}))
    return installation


def test_a_machine_without_data_knows_which_values_a_plan_would_read(first: Installation, machine: NewRoot):
    filters = {"wide": FilterSpec(keep="min(aspect.ratio) > 1")}
    corpus = first.catalog.corpus.model_copy(update={"filters": filters})
    object.__setattr__(first, "catalog", first.catalog.model_copy(update={"corpus": corpus}))
    second = machine("b", empty=True)
    object.__setattr__(second, "catalog", first.catalog)
    for _ in range(2):
        supply = gather_supply(mirrored(second))
        assert supply.incomplete == ()
        assert supply.unannotated == ()
        assert [one.values[0].values_hash for one in supply.slices] == [
            one.values[0].values_hash for one in gather_supply(first).slices
        ]
    seen = supply.slices[0].values[0].path
    assert pq.read_table(seen).num_rows == 0


def files(installation: Installation) -> dict[str, bytes]:
    root = installation.root
    return {
        str(path.relative_to(root.path)): path.read_bytes() for path in root.annotations.rglob("*.parquet")
    }


@pytest.fixture
def first(machine: NewRoot, monkeypatch: pytest.MonkeyPatch) -> Installation:
    annotate_in_process(monkeypatch)
    one = annotating(machine("a"))
    annotate(one, workers=1)
    assert backup(one).failed == {}
    return one


def test_they_come_back_as_they_were(first: Installation, machine: NewRoot):
    assert backup(first).done == []
    second = machine("b", empty=True)
    restored = restore(second.settings)
    assert restored.failed == {}
    assert KEY in restored.done
    assert files(second) == files(first) != {}
    assert annotate(annotating(second)).files == {}


def test_what_another_machine_computed_is_taken_over(
    first: Installation, machine: NewRoot, monkeypatch: pytest.MonkeyPatch
):
    second = annotating(machine("b"))
    shutil.rmtree(second.root.annotations, ignore_errors=True)
    remote = SharedRemote(second)
    monkeypatch.setattr(Aspect, "annotate", None)
    for key in ("a", "b", "none"):
        remote.before_annotations("street", key, ["aspect"])
    assert files(second) == files(first) != {}
    assert annotate(second, workers=1).files == {}


def test_a_takedown_leaves_no_stored_version_and_takes_none_in(
    first: Installation, machine: NewRoot, s3: S3Server
):
    found = read_annotation(first.root.path / KEY)
    assert found is not None
    gone = found.table.column("id")[0].as_py()
    before = (first.root.path / KEY).read_bytes()
    receipt = take_down(first, TakedownOrder(id=gone))
    assert receipt.outstanding == ()
    assert s3.get(KEY) == (first.root.path / KEY).read_bytes() != before
    assert before not in s3.every_version(KEY)
    s3.put(KEY, before)  # by a machine that had not heard of it
    second = machine("b", empty=True)
    assert "taken down" in restore(second.settings).failed[KEY]
    assert not (second.root.path / KEY).exists()


def test_those_of_a_dropped_slice_go_with_it(first: Installation, s3: S3Server, tmp_path: Path):
    del tmp_path
    prune_remote(first.settings, PruneOrder(drop=frozenset({"datasets/street/a"})))
    assert s3.listed("annotations/") == ["annotations/aspect/street/b.parquet"]
