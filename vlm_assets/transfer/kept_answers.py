"""What an origin says of itself in a file at a fixed address, kept on disk for a day."""

import time
from hashlib import sha256
from pathlib import Path
from typing import Final

import orjson

_DAY_S: Final = 86400
MAX_OWN_BYTES: Final = 512 * 1024
"""RFC 9309 2.5: at least 500 KiB of a robots.txt are to be parsed; the rest is ignored."""


class KeptAnswer:
    """Status and body of one such file (`name`), below the folder of its host."""

    def __init__(self, folder: Path, name: str, origin: str) -> None:
        self._path = folder / f"{name}-{sha256(origin.encode()).hexdigest()[:16]}.json"

    def load(self) -> tuple[int, bytes] | None:
        """The answer, if it is not older than a day."""
        try:
            content = orjson.loads(self._path.read_bytes())
            if not 0 <= time.time() - content["fetched"] < _DAY_S:
                return None
            return int(content["status"]), content["body"].encode()
        except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            return None

    def save(self, status: int, body: bytes) -> None:
        """Keep an answer, as text."""
        text = body[:MAX_OWN_BYTES].decode("utf-8-sig", "replace")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temp = self._path.with_name(f"{self._path.name}.{time.monotonic_ns()}")
        temp.write_bytes(orjson.dumps({"fetched": time.time(), "status": status, "body": text}))
        temp.replace(self._path)
