"""The trainer's page: its code is run as it stands; what needs torch and TRL in an environment of its own."""

import json
import re
import subprocess
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import pytest

from vlm_assets.exports.formats import Format
from vlm_assets.exports.run import export_corpus
from vlm_assets.papers.write import write_papers
from vlm_assets_tests.exports.corpora import COUNT, corpus_rows
from vlm_assets_tests.training_environment import plain_environment

TOP = Path(__file__).resolve().parents[2]
PAGE = (TOP / "vlm_assets/docs/training.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
APART = re.compile(r"^(?:import|from) (?:torch|trl|transformers)\b", re.MULTILINE)
PLACE = 'FOLDER = Path("/data/vlm/corpora/turkish_vlm/1k")'
SEEN = """
import json, sys
for batch in loader(FOLDER, int(sys.argv[1])):
    print(json.dumps([[row["id"], [image.size for image in row["images"]]] for row in batch]))
"""
TRAINED = """
import json, sys
from transformers import Trainer

class Seen(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, numbers):
        print(json.dumps(numbers.tolist()))
        return {"loss": (self.weight * 0).sum()}

class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return len(conversations)
    def __getitem__(self, number):
        return {"numbers": number}

config.max_steps, config.save_steps, config.report_to = int(sys.argv[1]), 3, []
config.save_strategy = "steps"
trainer = Trainer(Seen(), config, train_dataset=Numbers())
trainer.train(resume_from_checkpoint=len(sys.argv) > 2)
"""


def page(blocks: list[str], folder: Path) -> str:
    code = "\n\n".join(blocks)
    assert code.count(PLACE) == 1
    return code.replace(PLACE, f"FOLDER = Path({str(folder)!r})")


@pytest.fixture(scope="module")
def read(sealed) -> dict[str, Any]:
    """The names of the page's blocks that need nothing beside what builds a corpus."""
    names: dict[str, Any] = {}
    blocks = [block for block in BLOCKS if not APART.search(block)]
    exec(page(blocks, sealed.root.corpus("small", "t")), names)  # noqa: S102 - the page's own code
    return names


def test_every_block_is_run_here_or_apart():
    assert len(BLOCKS) == 5
    assert len([block for block in BLOCKS if APART.search(block)]) == 2


def test_raw_bytes_are_those_of_the_corpus_and_nothing_is_written(sealed, read):
    folder = sealed.root.corpus("small", "t").resolve()
    before = sorted(path.name for path in folder.iterdir())
    assert read["first"] == corpus_rows(sealed)[0]["images"][0]["bytes"]
    assert [row["images"] for row in read["Rows"](folder).__getitems__([0, 1, 2])] == [
        row["images"] for row in corpus_rows(sealed)[:3]
    ]
    assert [name for name in before if name.startswith("cache-")] == []


@pytest.mark.parametrize(("ranks", "batch_size"), [(1, 4), (3, 2), (4, 7)])
def test_ranks_read_the_corpus_from_front_to_back_each_row_once(read, ranks, batch_size):
    parts = [list(read["Steps"](COUNT, batch_size, rank=rank, ranks=ranks)) for rank in range(ranks)]
    taken = [number for step in zip(*parts, strict=True) for batch in step for number in batch]
    assert taken == list(range(COUNT // (ranks * batch_size) * ranks * batch_size))
    assert len(parts[0]) == len(read["Steps"](COUNT, batch_size, rank=0, ranks=ranks))


def test_a_training_goes_on_with_the_next_row_on_other_ranks_too(read):
    steps = read["Steps"]
    begun = [next(iter(steps(COUNT, 6, rank=rank, ranks=2, step=2))) for rank in range(2)]
    on = [next(iter(steps(COUNT, 4, rank=rank, ranks=3, step=2))) for rank in range(3)]
    assert [*chain(*begun)] == [*chain(*on)] == list(range(24, 36))
    assert len(steps(COUNT, 6, ranks=2, step=2)) == COUNT // 12 - 2


def test_the_card_says_the_one_call_that_opens_the_folder(sealed, monkeypatch):
    card = write_papers(sealed, "t").card.read_text("utf-8")
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    monkeypatch.chdir(sealed.root.path)  # as the snippet says
    exec(snippet, names)  # noqa: S102 - the card's own code
    assert [row["id"] for row in names["corpus"].select_columns("id")] == [
        row["id"] for row in corpus_rows(sealed)
    ]
    with pytest.raises(ValueError, match="load_from_disk"):
        datasets.load_dataset(str(sealed.root.corpus("small", "t").resolve()))


def ran(python: Path, code: str, base: Path, *words: str, **environment: str) -> list[Any]:
    """What the program prints, a JSON value a line."""
    (base / "page.py").write_text(code, "utf-8")
    done = subprocess.run(
        [str(python), "page.py", *words], cwd=base, env=plain_environment(**environment),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_pytorch_and_trl_read_it_in_order_over_ranks_and_go_on(sealed, tmp_path, training_python):
    ids = [row["id"] for row in corpus_rows(sealed)]
    folder = sealed.root.corpus("small", "t")
    shown = page([block for block in BLOCKS if "trl" not in block], folder) + SEEN
    halves = [ran(training_python, shown, tmp_path, "3", RANK=str(rank), WORLD_SIZE="2") for rank in range(2)]
    read = [row for step in zip(*halves, strict=True) for batch in step for row in batch]
    assert [one for one, _ in read] == ids[24 : COUNT // 8 * 8]
    assert all(size == [64, 48] for _, sizes in read for size in sizes)

    # The page is for machines with a GPU.
    here = ("output_dir=", "use_cpu=True, bf16=False, gradient_checkpointing=False, output_dir=")
    trained = page(BLOCKS, folder).replace(*here) + TRAINED
    first = ran(training_python, trained, tmp_path, "3")
    second = ran(training_python, trained, tmp_path, "6", "on")
    assert [*chain(*first, *second)] == list(range(24))


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_energon_prepares_the_tars(sealed, tmp_path, training_python):
    done = export_corpus(sealed, "t", Format.WEBDATASET, tmp_path / "out")
    options = ["--non-interactive", "--split-ratio", "1,0,0", "--sample-type", "CrudeWebdataset"]
    command = [str(training_python.with_name("energon")), "prepare", str(tmp_path / "out"), *options]
    subprocess.run(command, check=True, env=plain_environment(), capture_output=True)
    told = json.loads((tmp_path / "out" / ".nv-meta" / ".info.json").read_bytes())
    assert told["shard_counts"] == {name: one.rows for name, one in done.manifest.files.items()}
    assert export_corpus(sealed, "t", Format.WEBDATASET, tmp_path / "out").written == 0
