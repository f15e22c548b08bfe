"""Marks in upstream's words that stand for an image.

What counts as a mark, exactly as written here (`N` is a number of up to four digits):

- `<image>`, `<image></image>`: LLaVA and what follows it
- `<imageN>`, `<image N>`, `<image_N>`, `<image-N>`, `<image:N>`: sets of several images
- `<|image|>`, `<|imageN|>`, `<|image_N|>`, `<|image-N|>`: Llama, Phi
- `<|image_pad|>`: Qwen2-VL
- `<image_placeholder>`: DeepSeek-VL
- `<start_of_image>`: Gemma
- `<ImageHere>`: MiniGPT-4, XComposer
- `<img>name or path</img>`: Qwen-VL

Together with the pair of tokens directly around it, where both are there: `<Image>…</Image>`, `<Img>…</Img>`,
`<im_start>…<im_end>`, `<|vision_start|>…<|vision_end|>`. Not marks but words: `<img>` alone and with attributes
(HTML), `<image …>` with attributes (SVG), `<Image>` alone (XAML, JSX), `[IMG]`, marks of videos and sounds.

A text that has marks loses the whitespace at its ends and directly around its marks, since every chat template sets
its own; a text without marks keeps all of its whitespace.
"""

import re
from dataclasses import dataclass
from typing import Final

_CORES: Final = (
    r"<image(?:[ _:-]?\d{1,4})?>(?:</image>)?",
    r"<\|image(?:[_-]?\d{1,4})?\|>",
    r"<\|image_pad\|>",
    r"<image_placeholder>",
    r"<start_of_image>",
    r"<ImageHere>",
    r"<img>[^<>\n]{1,1024}</img>",
)
_WRAPPERS: Final = (
    (r"<Image>", r"</Image>"),
    (r"<Img>", r"</Img>"),
    (r"<im_start>", r"<im_end>"),
    (r"<\|vision_start\|>", r"<\|vision_end\|>"),
)
_CORE: Final = f"(?:{'|'.join(_CORES)})"
_MARK: Final = re.compile("|".join([*(f"{left}{_CORE}{right}" for left, right in _WRAPPERS), _CORE]))
_NUMBERED: Final = re.compile(r"<\|?image[ _:-]?(\d{1,4})\|?>")
MAX_MARKS: Final = 10_000
"""In one text; also of a conversation."""
_MAX_PASSES: Final = 3


@dataclass(frozen=True, slots=True)
class Mark:
    """A place of an image: in words, or as a part of its own (`part`); with the number that upstream gave it."""

    number: int | None = None
    part: bool = False


class MarksError(ValueError):
    """A hostile text: too many marks, or marks made of marks, where each pass that removes some makes others."""


def split_at_marks(text: str) -> list[str | Mark]:
    """The words and marks of a text in their order; no words are empty where there are marks.

    Raises:
        MarksError: more than `MAX_MARKS`.
    """
    if "<" not in text:
        return [text]
    pieces: list[str | Mark] = []
    end = 0
    for match in _MARK.finditer(text):
        pieces += [text[end : match.start()].strip(), Mark(_number_of(match.group()))]
        end = match.end()
        if len(pieces) > 2 * MAX_MARKS:
            raise MarksError(f"more than {MAX_MARKS} marks of images in one text")
    if not pieces:
        return [text]
    return [piece for piece in (*pieces, text[end:].strip()) if piece]


def without_marks(text: str) -> str:
    """The words alone; where a mark stood between words, a line break if there was one beside it, else a blank.

    Raises:
        MarksError: the text still has marks after some passes.
    """
    if "<" not in text:
        return text
    for _ in range(_MAX_PASSES):
        segments = _MARK.split(text)
        if len(segments) == 1:
            return text
        text = _joined(segments)
    raise MarksError(f"marks of images within marks, {_MAX_PASSES} deep")


def _joined(segments: list[str]) -> str:
    joined: list[str] = []
    line_break = False
    for segment in segments:
        words = segment.strip()
        if not words:
            line_break |= "\n" in segment
            continue
        before, after = segment[: segment.index(words[0])], segment[len(segment.rstrip()) :]
        if joined:
            joined.append("\n" if line_break or "\n" in before else " ")
        joined.append(words)
        line_break = "\n" in after
    return "".join(joined)


def _number_of(mark: str) -> int | None:
    match = _NUMBERED.search(mark)
    return None if match is None else int(match.group(1))
