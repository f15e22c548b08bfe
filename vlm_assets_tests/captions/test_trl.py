"""A row trains as it is: TRL's own code takes the rows of a built corpus, which PyTorch's workers read from disk.

torch is large, so it lives in an environment of its own (`training_environment`). The default run holds the same
shape in `test_conversations`.
"""

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from vlm_assets.allocation.step import allocate
from vlm_assets.captions.marks import split_at_marks
from vlm_assets.corpus.build import build_corpus
from vlm_assets_tests.captions.talks import FORMS, IMAGE, PAIRED, Talk
from vlm_assets_tests.training_environment import plain_environment
from vlm_assets_tests.workplace import STREET, ingest, install

READER = Path(__file__).with_name("trl_reader.py")
FEATURES = datasets.Features({"images": datasets.List(datasets.Image()), "talk": datasets.Value("string")})
TALKS: dict[str, Talk] = {
    "one-image": [("user", [IMAGE, "Bu nedir?"]), ("assistant", ["Bir kedi."])],
    "three-images": [
        ("user", ["Bunu", IMAGE, "şununla", IMAGE, "karşılaştır"]),
        ("assistant", ["Aynı"]),
        ("user", ["Ya bu?", IMAGE]),
        ("assistant", ["Başka"]),
    ],
    "text-only": [("user", ["Merhaba"]), ("assistant", ["Selam"])],
}
ODD: dict[str, tuple[Any, Talk]] = {
    "no-mark": ([{"from": "human", "value": "Bu?"}], [("user", [IMAGE, IMAGE, "Bu?"])]),
    "too-many-marks": ([{"user": "Bu <image><image>", "assistant": "Kedi"}],
                       [("user", [IMAGE, "Bu"]), ("assistant", ["Kedi"])]),
    "marks-without-images": ([{"role": "user", "content": "<image>\nBu?"}], [("user", ["Bu?"])]),
    "mark-beside-part": ([{"role": "user", "content": [{"type": "text", "text": "<image>\nBu?"}, {"type": "image"}]}],
                         [("user", ["Bu?", IMAGE])]),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_trl_takes_every_row_as_it_is_with_images_in_their_places(tmp_path: Path, training_python: Path):
    cases = [(make(talk), talk) for talk in TALKS.values() for make in (FORMS | PAIRED).values()]
    corpus, expected = _built([*cases, *ODD.values()], tmp_path)

    command = [str(training_python), str(READER), str(corpus)]
    ran = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert sorted(rows, key=json.dumps) == sorted(expected, key=json.dumps)
    texts = [part for turns in rows for turn in turns for part in turn["parts"] if isinstance(part, str)]
    assert all(split_at_marks(text) == [text] for text in texts)


def _built(cases: list[tuple[Any, Talk]], base: Path) -> tuple[Path, list[list[dict[str, Any]]]]:
    """A corpus of conversations, each image of another size; and what is to be read from it, in any order."""
    rows: list[dict[str, Any]] = []
    expected: list[list[dict[str, Any]]] = []
    sizes = ([width_px, 8] for width_px in range(10, 10_000))
    for value, talk in cases:
        turns = [
            {"role": role, "parts": [next(sizes) if one is IMAGE else one for one in said]}
            for role, said in talk
        ]
        images = [part for turn in turns for part in turn["parts"] if isinstance(part, list)]
        if images:
            encoded = [{"bytes": _png(*size), "path": None} for size in images]
            rows.append({"images": encoded, "talk": _json(value)})
            expected.append(turns)
    saved = datasets.Dataset.from_list(rows, features=FEATURES)
    datasets.DatasetDict({"train": saved}).save_to_disk(base / "saved")
    keys = {"kind": "hf_disk", "path": base / "saved", "image_column": "images", "messages_column": "talk"}
    installation = install(base, {**STREET, **keys}, corpus={"targets": {"all": len(rows)}})
    ingest(installation)
    build_corpus(allocate(installation, "all").path, installation.root)
    return installation.root.corpus("small", "all").resolve(), expected


def _json(value: Any) -> str:
    """Of one text column: forms of several types have no common Arrow type."""
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, str) else json.dumps(value)


def _png(width_px: int, height_px: int) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (width_px, height_px)).save(target, "PNG")
    return target.getvalue()
