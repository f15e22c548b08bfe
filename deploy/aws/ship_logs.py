"""Sends what the journal has of the services, and of first boot, to the stack's log group: one stream a unit.

Run by vlm-logs.timer. Where it stopped is kept in STATE_DIRECTORY, so that nothing is lost while CloudWatch or the
machine is down; after a crash between sending and keeping, some lines are sent twice.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

UNITS = ("vlm-*", "cloud-final.service")
_EVENTS = 2_000
_BATCH_BYTES = 900_000
"""PutLogEvents takes 1,048,576 bytes, 26 of them for each event."""
_LINE_BYTES = 200_000
_DAY_MS = 24 * 3600 * 1000


def journal(cursor: str | None) -> Iterator[dict[str, Any]]:
    """The entries after the cursor, oldest first; without one, those of this boot."""
    where = ["--after-cursor", cursor] if cursor else ["--boot"]
    units = [word for unit in UNITS for word in ("--unit", unit)]
    command = ["journalctl", "--output=json", "--no-pager", *units, *where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout is not None  # noqa: S101 - asked for above
        for entry in process.stdout:
            yield json.loads(entry)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def batches(entries: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Entries in the order of the journal, cut where CloudWatch's limits on number, bytes and a day's span are."""
    batch: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        length = len(text(entry).encode()) + 26
        full = len(batch) == _EVENTS or size + length > _BATCH_BYTES
        if batch and (full or at_ms(entry) - at_ms(batch[0]) >= _DAY_MS):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += length
    if batch:
        yield batch


def text(entry: dict[str, Any]) -> str:
    """The message; the journal gives one that is not UTF-8 as a list of bytes, and none as null."""
    message = entry.get("MESSAGE")
    if isinstance(message, list):
        message = bytes(message).decode("utf-8", "replace")
    shown = str(message or "").encode()[:_LINE_BYTES].decode("utf-8", "ignore")
    return shown or " "  # an event may not be empty


def at_ms(entry: dict[str, Any]) -> int:
    """When it was written, in milliseconds."""
    return int(entry["__REALTIME_TIMESTAMP"]) // 1000


def ship(client: Any, group: str, state: Path, entries: Iterable[dict[str, Any]]) -> int:
    """Sends all entries; the place in the journal is kept after each batch. Returns how many were sent."""
    sent, made = 0, set[str]()
    for batch in batches(entries):
        by_stream: dict[str, list[dict[str, Any]]] = {}
        for entry in batch:
            stream = entry.get("_SYSTEMD_UNIT") or entry.get("UNIT") or "journal"
            by_stream.setdefault(stream.removesuffix(".service"), []).append(entry)
        for stream, some in by_stream.items():
            _put(client, group, stream, some, made)
        fresh = state.with_suffix(".new")
        fresh.write_text(batch[-1]["__CURSOR"], "utf-8")
        fresh.replace(state)
        sent += len(batch)
    return sent


def _put(client: Any, group: str, stream: str, entries: list[dict[str, Any]], made: set[str]) -> None:
    if stream not in made:
        with contextlib.suppress(client.exceptions.ResourceAlreadyExistsException):
            client.create_log_stream(logGroupName=group, logStreamName=stream)
        made.add(stream)
    # The clock may have been set back in between; CloudWatch wants them by time.
    events = sorted(
        ({"timestamp": at_ms(one), "message": text(one)} for one in entries), key=lambda e: e["timestamp"]
    )
    client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def main() -> None:
    """Sends what is new."""
    import boto3  # noqa: PLC0415 - the tests bring their own

    state = Path(os.environ.get("STATE_DIRECTORY", ".")) / "cursor"
    cursor = state.read_text("utf-8") if state.exists() else None
    client = boto3.client("logs", region_name=os.environ["AWS_DEFAULT_REGION"])
    sent = ship(client, f"/vlm-assets/{os.environ['VLM_STACK']}", state, journal(cursor))
    sys.stdout.write(f"{sent} lines sent\n")


if __name__ == "__main__":
    main()
