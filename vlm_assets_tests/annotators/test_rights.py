"""What `rights` reads out of images whose XMP is made here."""

import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vlm_assets.annotate.run import annotate
from vlm_assets.annotators.picture import Picture
from vlm_assets.annotators.registry import annotator_of
from vlm_assets.operate.what_if import what_if
from vlm_assets_tests.annotate.in_process import annotate_in_process
from vlm_assets_tests.workplace import STREET, ingest, install
from vlm_assets_tests.workplace import picture as made_picture

VOCABULARY = "http://ns.useplus.org/ldf/vocab/"
PROHIBITED = VOCABULARY + "DMI-PROHIBITED"


def xmp(inside: str = "", attributes: str = "", prolog: str = "") -> bytes:
    return (
        f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{prolog}<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/" {attributes}>{inside}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def element(value: str) -> bytes:
    return xmp(f"<plus:DataMining>{value}</plus:DataMining>")


def picture(form: str, packet: bytes | None = None, after: bytes = b"") -> Picture:
    out = BytesIO()
    options: dict[str, Any] = {}
    if packet is not None and form == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", packet.decode(), zip=True)
    elif packet is not None and form == "TIFF":
        options["tiffinfo"] = {700: packet}
    elif packet is not None:
        options["xmp"] = packet
    Image.new("RGB", (8, 8), (9, 99, 9)).save(out, form, **options)
    return Picture(form, out.getvalue() + after)


def rights(one: Picture) -> dict[str, Any] | None:
    [found] = annotator_of("rights").annotate([one])
    return None if found is None else dict(found)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_format_that_carries_xmp(form: str):
    assert rights(picture(form)) == {"data_mining": "", "reserved": False}
    found = rights(picture(form, element(PROHIBITED + "-AIMLTRAINING")))
    assert found == {"data_mining": "DMI-PROHIBITED-AIMLTRAINING", "reserved": True}


@pytest.mark.parametrize(
    ("packet", "value", "reserved"),
    [
        pytest.param(element(f"\n {PROHIBITED} "), "DMI-PROHIBITED", True, id="text"),
        pytest.param(xmp("", f'plus:DataMining="{PROHIBITED}"'), "DMI-PROHIBITED", True, id="attribute"),
        pytest.param(
            xmp(f'<plus:DataMining rdf:resource="{PROHIBITED}"/>'), "DMI-PROHIBITED", True, id="resource"
        ),
        pytest.param(
            element(f"<rdf:Bag><rdf:li>{PROHIBITED}</rdf:li></rdf:Bag>"), "DMI-PROHIBITED", True, id="bag"
        ),
        pytest.param(element("DMI-PROHIBITED-SEECONSTRAINT"), "DMI-PROHIBITED-SEECONSTRAINT", True, id="bare"),
        pytest.param(element(VOCABULARY + "DMI-ALLOWED"), "DMI-ALLOWED", False, id="allowed"),
        pytest.param(element(VOCABULARY + "DMI-UNSPECIFIED"), "DMI-UNSPECIFIED", False, id="unspecified"),
        pytest.param(element("dmi-perhaps"), "DMI-PERHAPS", None, id="unknown"),
        pytest.param(element("x" * 5_000), "X" * 120, None, id="long"),
        pytest.param(
            xmp(f"<plus:DataMining>{PROHIBITED}</plus:DataMining>", f'plus:DataMining="{VOCABULARY}DMI-ALLOWED"'),
            "DMI-PROHIBITED", True, id="both",
        ),
        pytest.param(xmp("<DataMining>DMI-PROHIBITED</DataMining>"), "", False, id="no namespace"),
        pytest.param(xmp("<plus:DataMining/>"), "", False, id="empty"),
        pytest.param(b"no XML at all", "", False, id="other words"),
        pytest.param(element(PROHIBITED) + b"\0" * 9, "DMI-PROHIBITED", True, id="padded"),
        pytest.param(
            element(PROHIBITED).decode().encode("utf-16"), "DMI-PROHIBITED", True, id="UTF-16"
        ),
    ],
)  # fmt: skip
def test_what_a_packet_says(packet: bytes, value: str, *, reserved: bool | None):
    assert rights(picture("JPEG", packet)) == {"data_mining": value, "reserved": reserved}


ENTITY = '<!DOCTYPE a [<!ENTITY a "DMI-ALLOWED"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(element("<open>"), id="no XML"),
        pytest.param(xmp("<plus:DataMining>&b;</plus:DataMining>", prolog=ENTITY), id="entities"),
        pytest.param(
            xmp("<plus:DataMining/>", prolog='<!DOCTYPE a SYSTEM "http://127.0.0.1:9/">'), id="document type"
        ),
        pytest.param(b'<?xml version="1.0" encoding="klingon"?><DataMining/>', id="encoding"),
        pytest.param(b"<DataMining>\xff\xfe\0\0", id="bytes"),
    ],
)
def test_a_packet_that_cannot_be_read_has_no_values(packet: bytes):
    assert rights(picture("JPEG", packet)) is None


@pytest.mark.parametrize(
    ("size", "expected"),
    [(3 * 2**20, {"data_mining": "DMI-PROHIBITED", "reserved": True}), (4 * 2**20, None)],
    ids=["below the cap", "above"],
)
def test_a_packet_of_some_size(size: int, expected: dict[str, Any] | None):
    assert rights(picture("WEBP", element(PROHIBITED + " " * size))) == expected


def test_depth_costs_no_stack():
    deep = xmp("<a>" * 100_000 + f"<plus:DataMining>{PROHIBITED}</plus:DataMining>" + "</a>" * 100_000)
    assert rights(picture("WEBP", deep)) == {"data_mining": "DMI-PROHIBITED", "reserved": True}


def test_xmp_after_the_pixels_of_a_png():
    whole = picture("PNG").data
    body = b"iTXtXML:com.adobe.xmp\0\0\0\0\0" + element(PROHIBITED)
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    end = whole.index(b"IEND") - 4
    late = Picture("PNG", whole[:end] + chunk + whole[end:])
    assert rights(late) == {"data_mining": "DMI-PROHIBITED", "reserved": True}


@pytest.mark.parametrize(
    "after", [b"<x:xmpmeta", b"</x:xmpmeta>", b"<x:xmpmeta" * 100_000], ids=["begun", "ended", "begun often"]
)
def test_bytes_that_look_like_a_packet(after: bytes):
    assert rights(picture("JPEG", after=after)) == {"data_mining": "", "reserved": False}


def test_filters_keep_what_its_owner_leaves_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    annotate_in_process(monkeypatch)
    said = [
        None,
        element(VOCABULARY + "DMI-ALLOWED"),
        element(PROHIBITED),
        element(PROHIBITED + "-AIMLTRAINING"),
    ]
    (tmp_path / "in").mkdir()
    for number, packet in enumerate(said):
        pixels = Image.open(BytesIO(made_picture(number)))
        pixels.save(tmp_path / "in" / f"{number}.jpg", xmp=packet or b"")
    installation = install(
        tmp_path, {**STREET, "path": tmp_path / "in"}, corpus={"annotations": [{"name": "rights"}]}
    )
    ingest(installation)
    annotate(installation)
    asked = {"open": "all(not rights.reserved)", "exact": 'all(rights.data_mining != "DMI-PROHIBITED")'}
    for name, expression in asked.items():
        [line] = what_if(installation, "10", [f"{name}: {expression}"]).lines
        assert (line.rows, line.fails, line.missing) == (4, {"open": 2, "exact": 1}[name], 0)
