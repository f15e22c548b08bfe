"""The whole allocation against the slow reference."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_assets.catalog.labels import SubcategoryFrom
from vlm_assets.catalog.spec import DedupSpec, LicencePolicy, ShardSpec
from vlm_assets.words.tombstones import Tombstones
from vlm_assets_tests.allocation import reference
from vlm_assets_tests.allocation.builders import catalog, commit, hex_of, index_row, quota, row, source
from vlm_assets_tests.allocation.plans import PICTURE, ids_of, plan

QUOTAS = {
    "photos": quota("2/3", subcategories={"street": quota("0.5"), "nature": quota("0.5", min=3)}),
    "pages": quota("1/3", subcategories={"news": quota(1, subcategories={"old": quota(1, max=9)})}),
}


@st.composite
def worlds(draw):
    """A small catalogue with rows that collide, are alike, break rules, and lie in any slice."""
    near = draw(st.sampled_from([0, 0, 3, {"photos": 4, "pages": 2}, {"photos": 3}]))
    exact = draw(st.just("image") if near else st.sampled_from(["image", "record", "none"]))
    weighted = draw(st.booleans())
    labels = SubcategoryFrom(
        column="l", map=draw(st.sampled_from([None, {"street": "street", "x": "nature"}]))
    )
    names = ("a", "b", "c", "d")
    keys = {
        name: {
            "max_samples": draw(st.sampled_from([None, None, 0, 3, 8])),
            "weight": draw(st.fractions(0, 3, max_denominator=4)) if weighted else None,
            "licence": draw(st.sampled_from(["CC0-1.0", "CC0-1.0", "unknown"])),
        }
        for name in names
    }
    sources = [
        source("a", **keys["a"], subcategory="street"),
        source("b", **keys["b"], subcategory_from=labels),
        source("c", "pages", **keys["c"], subcategory="news/old"),
        source("d", **keys["d"], subcategory="nature"),
    ]
    cat = catalog(
        sources,
        QUOTAS,
        seed=draw(st.integers(0, 2**63 - 1)),
        targets={"t": draw(st.integers(1, 40))},
        dedup=DedupSpec(
            exact=exact, near_bits=near, precedence=draw(st.permutations(names))[: draw(st.integers(0, 4))]
        ),
        licences=LicencePolicy(deny=draw(st.sampled_from([(), ("unknown",)]))),
        min_side_px=draw(st.sampled_from([0, 50])),
        shard=ShardSpec(max_bytes=90_000),
    )
    rows = {}
    for name in names:
        for piece in ("s", "s-1", "t")[: draw(st.integers(0, 3))]:
            rows[name, piece] = [draw(worldly_rows(number)) for number in range(draw(st.integers(0, 12)))]
    return cat, rows


@st.composite
def worldly_rows(draw, number):
    image = draw(st.integers(0, 25))
    picture = PICTURE * (image % 3 + 1) & (2**64 - 1)
    flipped = picture ^ draw(st.sampled_from([0, 1, 0b11, 0b111, 0b11111, 1 << 40]))
    images = [image, *draw(st.sampled_from([[], [], [], [image + 1], [image, 3]]))]
    return row(
        image,
        images=images,
        messages=draw(st.sampled_from(["", "", "m"])),
        key=f"{draw(st.sampled_from('zyxé'))}{number}",
        text=draw(st.sampled_from(["", "p", "q"])),
        label=draw(st.sampled_from([None, "street", "x", "nature"])),
        dhash=[draw(st.sampled_from([None, 0, flipped, flipped])) for _ in images],
        min_side_px=draw(st.sampled_from([100, 100, 20])),
        row_bytes=draw(st.sampled_from([100, 100, 100_000])),
    )


@given(worlds(), st.integers(0, 25), st.booleans())
@settings(max_examples=60, deadline=None)
def test_agrees_with_the_slow_reference(world, taken_down, by_id):
    cat, rows = world
    with tempfile.TemporaryDirectory() as directory:
        supply = [
            commit(Path(directory), name, piece, given_rows) for (name, piece), given_rows in rows.items()
        ]
        full = [
            index_row(name, piece, number, one)
            for (name, piece), given_rows in rows.items()
            for number, one in enumerate(given_rows)
        ]
        images = frozenset() if by_id else frozenset({hex_of(taken_down)})
        ids = frozenset(one["id"] for one in full[:2]) if by_id else frozenset()
        result = plan(cat, supply, Tombstones(images, ids))
        selected, reasons, grants = reference.allocate(
            cat, cat.corpus.targets["t"], full, tombstoned_images=images, tombstoned_ids=ids
        )
        assert set(ids_of(result)) == selected
    counted: dict = {}
    for reason in reasons.values():
        counted[reason] = counted.get(reason, 0) + 1
    assert {str(reason): count for reason, count in result.excluded.items() if count} == counted
    for node in result.certificate.nodes:
        assert node.granted == grants.get(node.path, 0)
