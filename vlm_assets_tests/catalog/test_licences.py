"""Licences that are written almost like one that is known."""

import pytest

from vlm_assets.catalog.licences import doubt_of, meant_licence


@pytest.mark.parametrize(
    ("licence", "meant"),
    [
        ("proprietry", "proprietary"),
        ("Proprietary", "proprietary"),
        ("unknwon", "unknown"),
        ("CC-BY-4", "CC-BY-4.0"),
        ("cc by 4.0", "CC-BY-4.0"),
        ("cc0-1.0", "CC0-1.0"),
        ("proprietary", None),
        ("unknown", None),
        ("CC-BY-SA-4.0", None),
        ("MIT OR Apache-2.0", None),
        ("LicenseRef-client-12", None),
        ("contract of the client, 2024", None),
    ],
)
def test_what_was_meant(licence, meant):
    assert meant_licence(licence) == meant


@pytest.mark.parametrize(
    ("licence", "told"),
    [
        ("nope", "one of your own is named LicenseRef-nope"),
        ("my_terms", "one of your own is named LicenseRef-my-terms"),
        ("mit", "did you mean MIT?"),
        ("MIT", None),
        ("unknown", None),
        ("LicenseRef-client-12", None),
        ("contract of the client, 2024", None),
    ],
)
def test_what_is_to_be_looked_at(licence, told):
    doubt = doubt_of(licence)
    assert doubt is None if told is None else doubt is not None and told in doubt
