import json
import logging
import multiprocessing
from pathlib import Path

import pytest

from vlm_assets.operate.logs import SubsystemHandler, configure_logging, logging_where, redact
from vlm_assets.settings import load_settings


@pytest.fixture(autouse=True)
def _clean_logger():
    yield
    logger = logging.getLogger("vlm_assets")
    for handler in list(logger.handlers):
        if isinstance(handler, SubsystemHandler):
            logger.removeHandler(handler)


def test_each_subsystem_has_its_file_with_run_and_slice_in_the_line(tmp_path):
    configure_logging(load_settings(None), tmp_path)
    with logging_where("0123456789ab", "street/root"):
        logging.getLogger("vlm_assets.transfer.http").info("asked %s", "x")
    logging.getLogger("vlm_assets.corpus").warning("full")
    line = (tmp_path / "transfer.log").read_text()
    assert "INFO [" in line
    assert "01234567 street/root] vlm_assets.transfer.http: asked x" in line
    assert "full" in (tmp_path / "corpus.log").read_text()


def test_json_lines_are_json_and_set_up_once(tmp_path):
    settings = load_settings(None, log_format="json")
    configure_logging(settings, tmp_path)
    configure_logging(settings, tmp_path)
    try:
        int("hf_abcdefghijklmnop")
    except ValueError:
        logging.getLogger("vlm_assets.pdf").exception("broke")
    lines = [json.loads(line) for line in (tmp_path / "pdf.log").read_text().splitlines()]
    assert len(lines) == 1
    assert lines[0]["level"] == "ERROR"
    assert "ValueError" in lines[0]["message"]
    assert "hf_abc" not in lines[0]["message"]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abc.def-123", "abc.def-123"),
        ("https://user:pass@host/x", "user:pass"),
        ("https://b.s3.example/x?X-Amz-Signature=0a1b&y=2", "0a1b"),
        ("got hf_AbCdEfGhIjKl from env", "hf_AbCdEfGhIjKl"),
        ("token ghp_0123456789abcdef", "ghp_0123456789abcdef"),
    ],
)
def test_secrets_do_not_reach_a_line(text, secret):
    assert secret not in redact(text)
    assert "[redacted]" in redact(text)


def test_plain_text_is_left_alone():
    text = "street/root: 12 rows from https://host/a?id=3&page=2 in 4 s"
    assert redact(text) == text


def _log_many(folder: Path, name: str) -> None:
    logger = logging.getLogger(name)
    logger.propagate = False
    logger.setLevel("INFO")
    logger.addHandler(SubsystemHandler(folder, as_json=False, max_bytes=20_000, kept=50))
    for number in range(400):
        logger.info("%s line %04d", name, number)


def test_processes_share_a_rotating_file_without_losing_a_line(tmp_path):
    context = multiprocessing.get_context("spawn")
    names = ["vlm_assets.many.a", "vlm_assets.many.b"]
    processes = [context.Process(target=_log_many, args=(tmp_path, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    files = [path for path in tmp_path.glob("many.log*") if path.suffix != ".lock"]
    lines = [line for path in files for line in path.read_text().splitlines()]
    told = sorted(line.split(": ", 1)[1].strip() for line in lines)
    assert told == sorted(f"{name} line {number:04d}" for name in names for number in range(400))
    assert len(list(tmp_path.glob("many.log.*"))) > 1
