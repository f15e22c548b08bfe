import pytest

from vlm_assets.archives.split import SplitArchive, find_split_archives


def numbered(base: str, *numbers: str) -> list[str]:
    return [base + number for number in numbers]


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (numbered("x.zip.", "001", "002", "003"), "x.zip"),
        (numbered("x.tar.gz.part", "00", "01"), "x.tar.gz"),
        (numbered("x.tar.gz.part-", "1", "2"), "x.tar.gz"),
        (numbered("x.tar.gz.part", *map(str, range(12))), "x.tar.gz"),
        (numbered("x.tar.gz.", "aa", "ab", "ac"), "x.tar.gz"),
        (numbered("x.tar.gz", "aa", "ab"), "x.tar.gz"),
        (numbered("x.tar.gz.", "aaa", "aab"), "x.tar.gz"),
        (numbered("x.tgz.part-", "aa", "ab"), "x.tgz"),
        (numbered("a/x.7z.", "001", "002"), "a/x.7z"),
        (numbered("x.tar_", "0", "1"), "x.tar"),
        (["X.TAR.BZ2.Part1", "X.TAR.BZ2.Part2"], "X.TAR.BZ2"),
        (["x.z01", "x.z02", "x.zip"], "x.zip"),
        (["x.Z01", "x.zip"], "x.zip"),
        (["x.zip.001"], "x.zip"),
        (["labels.csv.gz.00", "labels.csv.gz.01"], "labels.csv.gz"),
    ],
)
def test_parts_are_found_and_put_in_order(parts: list[str], name: str) -> None:
    names = [*reversed(parts), "y.jpg", "y.zip", "readme.txt"]
    assert find_split_archives(names) == [SplitArchive(name, tuple(parts), "")]


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        (["x.zip.002", "x.zip.003"], "the parts before number 2"),
        (["x.zip.001", "x.zip.003"], "part number 2"),
        (["x.tar.gz.ab"], "the parts before number 1"),
        (["x.tar.gz.aa", "x.tar.gz.ac"], "part number 1"),
        (["x.z01", "x.z03", "x.zip"], "part number 2"),
        (["x.z01", "x.z02"], "x.zip"),
        (["x.tar.part1", "x.tar.part01"], "one of two parts numbered 1"),
    ],
)
def test_a_gap_is_told(parts: list[str], missing: str) -> None:
    (found,) = find_split_archives(parts)
    assert (set(found.parts), found.missing) == (set(parts), missing)


@pytest.mark.parametrize(
    "name",
    ["x.zip", "x.tar.gz", "x.tar.xz", "x.zip.md5", "x.zip.asc", "x.tar.gz.sig", "x.zip.txt", "x.jpg.001", "a.001",
     "x.zip.sha256", "x.zips", "x.tar.gz.json", "x.zip.part", "x.zip.tr", "photo01", "x.tar.zst", "x.zip.DS"],
)  # fmt: skip
def test_other_names_are_no_parts(name: str) -> None:
    assert find_split_archives([name]) == []


def test_two_split_archives_and_a_whole_one_of_the_same_name() -> None:
    names = ["a.zip.001", "a.zip.002", "b.tar.aa", "b.tar.ab", "b.tar"]
    assert [(one.name, one.parts) for one in find_split_archives(names)] == [
        ("a.zip", ("a.zip.001", "a.zip.002")), ("b.tar.aa", ("b.tar.aa", "b.tar.ab")),
    ]  # fmt: skip
