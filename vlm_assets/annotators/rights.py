"""`rights`: what an image itself says about being mined, by the property that photographers' programs write into it.

PLUS License Data Format, `plus:DataMining` in XMP, as IPTC Photo Metadata 2023.1 takes it over.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Final
from xml.etree.ElementTree import ParseError

import pyarrow as pa
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from vlm_assets.annotators.picture import Picture
from vlm_assets.annotators.protocol import Reads, Values

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_WORD: Final = b"DataMining"
_PROPERTY: Final = "{http://ns.useplus.org/ldf/xmp/1.0/}DataMining"
_RESOURCE: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource"
_PROHIBITED: Final = "DMI-PROHIBITED"
_OPEN: Final = frozenset({"", "DMI-UNSPECIFIED", "DMI-ALLOWED"})
_BEGIN, _END = b"<x:xmpmeta", b"</x:xmpmeta>"
_MAX_PACKETS: Final = 16
_MAX_PACKET_BYTES: Final = 4 * 2**20
_MAX_CHARACTERS: Final = 120


class UnreadablePacketError(ValueError):
    """XMP that speaks of data mining and is no XML, has a document type, or is larger than is read."""


class Rights:
    """`data_mining`: PLUS' value, as `DMI-PROHIBITED-AIMLTRAINING`; "" where the image says nothing.

    `reserved`: every `DMI-PROHIBITED…`; null of values that PLUS does not have. Both null: its XMP cannot be read.
    """

    name: ClassVar[str] = "rights"
    version: ClassVar[int] = 1
    reads: ClassVar[Reads] = Reads.IMAGES
    columns: ClassVar[pa.Schema] = pa.schema([("data_mining", pa.string()), ("reserved", pa.bool_())])
    cost_s: ClassVar[float] = 0.3

    def missing(self) -> str:
        """Nothing; see `Annotator.missing`."""
        return ""

    def annotate(self, batch: Sequence[Picture]) -> Sequence[Values]:
        """See `Annotator.annotate`."""
        return [_rights(one) for one in batch]


def _rights(picture: Picture) -> Values:
    try:
        said = [value for packet in _packets(picture) for value in data_mining(packet)]
    except UnreadablePacketError:
        return None
    value = next((one for one in said if one.startswith(_PROHIBITED)), said[0] if said else "")
    prohibited = value.startswith(_PROHIBITED)
    return {"data_mining": value, "reserved": prohibited if prohibited or value in _OPEN else None}


def _packets(picture: Picture) -> Iterator[bytes]:
    """The format's own XMP, then what lies open in the bytes: behind a PNG's pixels, in a JPEG's next segment."""
    main = picture.opened.info.get("xmp", b"")
    main = main.encode() if isinstance(main, str) else bytes(main)
    yield main
    data, at = picture.data, 0
    for _ in range(_MAX_PACKETS):
        start = data.find(_BEGIN, at)
        at = data.find(_END, start) + len(_END)
        if start < 0 or at < len(_END):
            return
        if (packet := data[start:at]) not in main:
            yield packet


def data_mining(packet: bytes) -> list[str]:
    """Every value of the property in a packet of XMP, without the vocabulary's address.

    Raises:
        UnreadablePacketError: it speaks of data mining, and what it says cannot be made out.
    """
    if _WORD not in packet.replace(b"\0", b""):  # UTF-16 too
        return []
    if len(packet) > _MAX_PACKET_BYTES:
        raise UnreadablePacketError(f"{len(packet)} bytes of XMP, {_MAX_PACKET_BYTES} are read")
    plain = packet.strip(b"\0 \r\n\t")
    try:
        root = fromstring(packet if b"\0" in plain else plain, forbid_dtd=True)
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        raise UnreadablePacketError(str(error)) from error
    return [value for element in root.iter() for value in _values(element)]


def _values(element: "Element") -> Iterator[str]:
    """RDF has three ways to say it: an attribute, an element's text, an element's resource."""
    said = [element.get(_PROPERTY, "")]
    if element.tag == _PROPERTY:
        said += [element.get(_RESOURCE, ""), "".join(element.itertext())]
    for one in said:
        if value := one.strip().rstrip("/").rpartition("/")[2].upper()[:_MAX_CHARACTERS]:
            yield value


ANNOTATOR = Rights()
