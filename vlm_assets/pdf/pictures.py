"""Image objects of a PDF: their sides, filters, colours, and the data as their last decoder gets them."""

import io
import zlib
from typing import Any, Final

import pikepdf
from PIL import Image

from vlm_assets.pdf.content import NotOneImageError
from vlm_assets.pdf.resources import unflated

_HEAD_BYTES: Final = 2**18
_TAIL_BYTES: Final = 64
_NO_PLACE: Final = (0, 0)
"""Of an object that is written within another."""
_ALIASES: Final = {"/DCT": "/DCTDecode", "/CCF": "/CCITTFaxDecode", "/Fl": "/FlateDecode"}
_CHANNELS: Final = {
    "/DeviceGray": 1, "/G": 1, "/CalGray": 1, "/Indexed": 1, "/I": 1, "/Separation": 1,
    "/DeviceRGB": 3, "/RGB": 3, "/CalRGB": 3, "/Lab": 3, "/DeviceCMYK": 4, "/CMYK": 4,
}  # fmt: skip


def size_of(image: pikepdf.Object) -> tuple[int, int]:
    """Width and height that an image object says it has, 0 where it says nothing."""
    return (int(image.get("/Width", 0)), int(image.get("/Height", 0)))


def filters_of(image: pikepdf.Stream) -> list[str]:
    """The filters in the order in which they are undone, by their long names."""
    value = image.get("/Filter")
    if value is None:
        return []
    names = [str(value)] if isinstance(value, pikepdf.Name) else [str(v) for v in value]
    return [_ALIASES.get(name, name) for name in names]


def parameters_of(image: pikepdf.Stream, index: int) -> pikepdf.Dictionary | None:
    """The parameters of a filter by its place, where it has any."""
    value = image.get("/DecodeParms")
    if isinstance(value, pikepdf.Array):
        value = value[index] if index < len(value) else None
    return value if isinstance(value, pikepdf.Dictionary) else None


def original_bytes(image: pikepdf.Stream, filters: list[str]) -> bytes:
    """The stream as the last filter gets it. Before it, only a plain Flate is undone.

    Raises:
        NotOneImageError: something else comes before.
        zlib.error: the Flate is damaged.
    """
    data = image.read_raw_bytes()
    for index, name in enumerate(filters[:-1]):
        parameters = parameters_of(image, index)
        if name != "/FlateDecode" or (parameters is not None and int(parameters.get("/Predictor", 1)) != 1):
            raise NotOneImageError(f"wrapped in {name}")
        data = zlib.decompress(data)
    return data


class EndsReader:
    """The ends of pictures of one document. Those of the last are kept, since one look after the other asks for them.

    qpdf copies the whole stream each time: 10 ms of a scan.
    """

    def __init__(self) -> None:
        self._last: tuple[tuple[int, int], tuple[bytes, bytes]] | None = None

    def of(self, image: pikepdf.Stream, filters: list[str]) -> tuple[bytes, bytes]:
        """The first 256 KiB and the last 64 bytes of what `original_bytes` gives.

        Raises:
            NotOneImageError, zlib.error: as `original_bytes`.
        """
        place = image.objgen
        if self._last is not None and self._last[0] == place != _NO_PLACE:
            return self._last[1]
        whole: Any = image.get_raw_stream_buffer() if len(filters) == 1 else original_bytes(image, filters)
        data = memoryview(whole)
        ends = bytes(data[:_HEAD_BYTES]), bytes(data[-_TAIL_BYTES:])
        self._last = place, ends
        return ends


def channels_of(space: object) -> int:
    """Numbers a pixel in a colour space; 0 where that is not told."""
    if isinstance(space, pikepdf.Name):
        return _CHANNELS.get(str(space), 0)
    if not isinstance(space, pikepdf.Array) or not len(space):
        return 0
    name = str(space[0])
    if name == "/ICCBased":
        return int(space[1].get("/N", 0))
    return len(space[1]) if name == "/DeviceN" else _CHANNELS.get(name, 0)


def row_bytes_of(image: pikepdf.Stream) -> int:
    """Bytes of a row of decoded samples; 0 where that is not told."""
    width_px, _ = size_of(image)
    if image.get("/ImageMask", False):
        return (width_px + 7) // 8
    bits = int(image.get("/BitsPerComponent", 8))
    return (width_px * channels_of(image.get("/ColorSpace")) * bits + 7) // 8


def samples_of(image: pikepdf.Stream) -> bytes:
    """The decoded samples of a lossless image; fewer than it should have where its data end early.

    Of a stream that unpacks to more than its picture no more is unpacked.

    Raises:
        NotOneImageError: it unpacks to more, in a way that cannot be cut.
        pikepdf.PdfError: the data are damaged, or of a filter that nobody knows.
    """
    row_bytes, rows = row_bytes_of(image), size_of(image)[1]
    limit = (row_bytes + 1) * rows  # a predictor is a byte a row
    if not row_bytes:
        return image.read_bytes()
    data = unflated(image, limit + 1)
    if data is None:
        return image.read_bytes()
    if not _is_predicted(image):
        return data[: row_bytes * rows]
    if len(data) > limit:
        raise NotOneImageError("more data than pixels")
    return image.read_bytes()


def _is_predicted(image: pikepdf.Stream) -> bool:
    found = (parameters_of(image, index) for index in range(len(filters_of(image))))
    return any(int(one.get("/Predictor", 1)) > 1 for one in found if one is not None)


def bilevel(image: pikepdf.Stream) -> Image.Image:
    """CCITT and JBIG2 through pdfium, which has both decoders: a page that holds nothing but the image object.

    Raises:
        NotOneImageError: pdfium cannot decode it.
    """
    import pypdfium2 as pdfium

    single = pikepdf.new()
    single.add_blank_page(page_size=(72, 72))
    page = single.pages[0]
    page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Im0=single.copy_foreign(image)))
    page.Contents = single.make_stream(b"72 0 0 72 0 0 cm /Im0 Do")
    out = io.BytesIO()
    single.save(out)
    document = pdfium.PdfDocument(out.getvalue())
    try:
        found = next(iter(document[0].get_objects(filter=(pdfium.raw.FPDF_PAGEOBJ_IMAGE,))), None)
        if found is None:
            raise NotOneImageError("the image cannot be decoded")
        picture: Image.Image = found.get_bitmap(render=False).to_pil()
        grey = picture.convert("L")
        if picture.size != size_of(image) or any(grey.histogram()[1:255]):
            raise NotOneImageError("the image does not decode to black and white")
        return grey.convert("1", dither=Image.Dither.NONE)
    except pdfium.PdfiumError as error:
        raise NotOneImageError(f"the image cannot be decoded: {error}") from error
    finally:
        document.close()
