"""The README: short, every kind and every page in it, and every command of it run, in order, as a new user would."""

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from datasets import Dataset, Features, Image, Value, load_from_disk
from typer.main import get_command
from typer.testing import CliRunner, Result

from vlm_assets.cli import app
from vlm_assets.demo.newspaper_site import pdf_of
from vlm_assets.demo.services.images import ImageSite
from vlm_assets.demo.services.running import start_services
from vlm_assets.sources.registry import kinds
from vlm_assets_tests.workplace import fill

TOP = Path(__file__).resolve().parent.parent
README = (TOP / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
BY_HAND = (
    "deploy/quickstart.sh",  # by CI, from a fresh clone
    "deploy/test.sh",
    ". /path/to/vlm_assets/.venv/bin/activate",
    "mkdir turkish_vlm && cd turkish_vlm",
)
"""Commands of shell blocks that are not `vlm-assets`."""


def commands() -> list[str]:
    """Lines of the shell blocks, without what is told beside them."""
    lines = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines]


def test_it_is_short():
    assert len(README.splitlines()) < 300


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_has_its_line(kind):
    assert f"| `{kind}` | " in README


@pytest.mark.parametrize("page", sorted((TOP / "vlm_assets/docs").glob("*.md")), ids=lambda page: page.name)
def test_it_leads_to_every_page(page):
    assert f"({page.relative_to(TOP)}" in README


def test_every_command_that_a_page_names_exists():
    pages = [README, *(path.read_text("utf-8") for path in (TOP / "vlm_assets/docs").glob("*.md"))]
    named = {name for page in pages for name in re.findall(r"vlm-assets ([a-z]+)", page)}
    assert named <= set(get_command(app).commands)  # type: ignore[attr-defined]  # a click group


def test_every_shell_line_is_run_or_named_here():
    others = [line for line in commands() if not line.startswith("vlm-assets ")]
    assert tuple(others) == BY_HAND


@pytest.fixture
def home(tmp_path, monkeypatch) -> Iterator[Path]:
    """A home with a folder of pictures, a list, a saved dataset, PDFs; the Hub and the list's server on loopback."""
    fill(tmp_path / "pictures", 6)
    images = [
        {"bytes": path.read_bytes(), "path": None} for path in fill(tmp_path / "x", 3, start=90).iterdir()
    ]
    features = Features({"image": Image(), "text": Value("string")})
    Dataset.from_dict({"image": images, "text": list("abc")}, features).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/report.pdf").write_bytes(pdf_of("readme", 1))
    with ExitStack() as stack:
        site = stack.enter_context(ImageSite(0))
        services = stack.enter_context(start_services(site))
        lines = [f"{site.url_of('readme', n)},picture {n}" for n in range(10)]  # one of them is dead
        (tmp_path / "urls.csv").write_text("\n".join(["url,caption", *lines]) + "\n")
        work = tmp_path / "turkish_vlm"
        work.mkdir()
        monkeypatch.chdir(work)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("VLM_ALLOW_PRIVATE_HOSTS", "127.0.0.0/8")
        for name, value in services.environment().items():
            if name.startswith(("HF_", "VLM_")):
                monkeypatch.setenv(name, value)
        yield tmp_path


def call(line: str, told: dict[str, str]) -> Result:
    """A line of the README, with its stand-ins replaced."""
    words = [str(Path(told.get(word, word)).expanduser()) for word in shlex.split(line)[1:]]
    return CliRunner().invoke(app, words)


def edit_as_told(corpus: Path) -> None:
    """Puts the README's quotas in place of those that stand there."""
    (block,) = [text for kind, text in BLOCKS if kind == "yaml" and text.startswith("quotas:")]
    text = corpus.read_text("utf-8")
    assert text.count("\nquotas:") == 1
    corpus.write_text(
        re.sub(r"^quotas:.*?^(?=\S|$)", block, text, count=1, flags=re.MULTILINE | re.DOTALL), "utf-8"
    )


def check_what_is_told(corpus: Path) -> None:
    """The README's quotas and size are sound; afterwards the file is as it was."""
    before = corpus.read_text("utf-8")
    edit_as_told(corpus)
    corpus.write_text(corpus.read_text("utf-8").replace("# 1k: 1000", "1k: 1000"), "utf-8")
    for line in ("vlm-assets check", "vlm-assets plan --target 1k"):
        assert call(line, {}).exit_code == 0
    corpus.write_text(before, "utf-8")


def test_every_command_does_what_it_says(home):
    """From nothing to an audited corpus without an edit; then all that the README names besides."""
    told = {"owner/name": "demo/scenes", "SHA256": ""}
    for line in commands():
        if line in BY_HAND:
            continue
        if line == "vlm-assets build --dry-run":
            check_what_is_told(home / "turkish_vlm/catalog/corpus.yaml")
        result = call(line, told)
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception}"
        if line == "vlm-assets build":
            assert "urls: lost 1 (10.0 %): not_found 1" in result.output
            assert result.output.count("not_found") == 1
            corpus = load_from_disk(str(home / "turkish_vlm/data/corpora/turkish_vlm/full"))
            assert set(corpus.unique("source")) == {"pictures", "urls", "scenes", "saved", "scans"}
            told["SHA256"] = corpus[0]["image_facts"][0]["sha256"]
