"""Each mutation of a good corpus is told by its findings, and by no others.

The table mutation → finding, as the tests below hold it: `python -m vlm_assets_tests.audit.test_mutations`.
"""

from random import Random

import orjson
import pytest

from vlm_assets.audit.findings import FindingName, finding_names
from vlm_assets.audit.run import audit_corpus
from vlm_assets.installation.opening import open_installation
from vlm_assets.settings import load_settings
from vlm_assets.store.papers import DERIVED_FILES, remove_papers
from vlm_assets_tests.audit.breaking import TARGET, copy_of, good_once
from vlm_assets_tests.audit.mutations.registry import MUTATIONS
from vlm_assets_tests.audit.mutations.rows import swap_two_images

CELLS = {
    "photos", "photos/street", "photos/nature", "photos/nature/day", "photos/nature/night", "pages", "pages/scans",
}  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return good_once(tmp_path_factory)


@pytest.mark.parametrize("full", [True, False], ids=["full", "quick"])
def test_a_good_once_has_no_finding(good, full):
    findings = audit_corpus(good, TARGET, full=full)
    assert [f.name for f in findings] == list(finding_names())
    assert [(f.name, f.observed, f.examples) for f in findings if not (f.passed and f.judged)] == []
    [quotas] = [f for f in findings if f.name == "quotas"]
    assert set(quotas.figures["granted"]) == CELLS


def test_a_quick_audit_hashes_small_data_files_whole(good, tmp_path):
    broken = copy_of(good, tmp_path)
    path = next(iter(sorted(broken.corpus.glob("data-*.arrow"))))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    findings = audit_corpus(broken.installation, TARGET, full=False)
    assert "shard_files" in {str(f.name) for f in findings if f.failed}


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_caught_by_name(good, tmp_path, name):
    break_it, expected, _why = MUTATIONS[name]
    broken = copy_of(good, tmp_path)
    if "papers" not in expected:
        remove_papers(broken.corpus)  # they are of the good one
    break_it(broken)
    findings = audit_corpus(broken.installation, TARGET, full=True)
    told = {str(f.name): (f.observed, list(f.examples)) for f in findings if f.failed}
    assert " ".join(sorted(told)) == expected, told
    assert all(not f.passed for f in findings if not f.judged)
    assert orjson.dumps([f.to_json() for f in findings])


@pytest.mark.parametrize("seed", range(24))
def test_no_byte_of_corpus_or_plan_changes_unseen(good, tmp_path, seed):
    random = Random(seed)
    broken = copy_of(good, tmp_path)
    folder = broken.corpus if seed % 3 else broken.plan
    path = random.choice([p for p in sorted(folder.iterdir()) if p.name not in DERIVED_FILES])
    content = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 1, 8))):
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)
    findings = audit_corpus(broken.installation, TARGET, full=True)
    assert [f.name for f in findings] == list(finding_names())
    assert {str(f.name) for f in findings if f.failed} & {"manifests", "shard_files"}, path
    assert not [f.observed for f in findings if "the check itself" in f.observed]


def test_workers_find_what_one_process_finds(good, tmp_path, monkeypatch):
    monkeypatch.setattr("vlm_assets.audit.run._IN_PROCESS_BYTES", 0)
    broken = copy_of(good, tmp_path)
    remove_papers(broken.corpus)
    swap_two_images(broken)
    installation = open_installation(
        load_settings(None, catalog=tmp_path / "catalog", data_root=tmp_path / "data", workers=2)
    )
    told = []
    findings = audit_corpus(installation, TARGET, full=True, progress=lambda *step: told.append(step))
    (found,) = [f for f in findings if f.failed]
    assert (str(found.name), found.figures["rows"]) == ("image_bytes", 30)
    assert len(found.examples) == 2
    assert ("shard_files", 30) in told


def test_there_are_mutations_for_every_finding_of_files_rows_and_slices():
    named = {name for _, expected, _ in MUTATIONS.values() for name in expected.split()}
    by_bug = {"quotas", "ranks", "duplicates", "decontamination", "exclusions"}  # test_buggy_allocator
    by_bug |= {"filters"}  # test_filters
    assert named | by_bug == {str(name) for name in FindingName}
    assert len(MUTATIONS) >= 25


def table() -> str:
    """Markdown: a line a mutation, with the findings that catch it and why there is more than one."""
    lines = ["| mutation | caught by | why more than one |", "|---|---|---|"]
    for name, (_, findings, why) in MUTATIONS.items():
        caught = ", ".join(f"`{one}`" for one in findings.split())
        lines.append(f"| {name.replace('_', ' ')} | {caught} | {why} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
