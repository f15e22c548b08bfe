"""What file names end in."""

from typing import Final

IMAGE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
     ".mpo", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".avif", ".ppm", ".pgm", ".pbm", ".pnm",
     ".heic", ".heif", ".hif", ".jxl", ".tga", ".psd", ".ico"}
)  # fmt: skip
"""Of image formats, admitted or not, in small letters."""
