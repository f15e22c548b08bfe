"""A process that fetches URLs once a line on stdin says go, and prints a hash of what it got, and when it asked."""

import sys
from hashlib import sha256
from pathlib import Path

import orjson

from vlm_assets.settings import Settings
from vlm_assets.transfer.download import UrlItem, fetch_urls
from vlm_assets.transfer.politeness import HostLimits
from vlm_assets.words.contexts import FetchContext
from vlm_assets.words.errors import Reject
from vlm_assets_tests.transfer.gate_log import GateLog
from vlm_assets_tests.transfer.patience import be_brisk
from vlm_assets_tests.waiting import HANG_S


def main() -> None:
    job = orjson.loads(Path(sys.argv[1]).read_bytes())
    settings = Settings(_env_file=None, allow_private_hosts=("127.0.0.1",), http_timeout_s=HANG_S)
    be_brisk()
    log = GateLog()
    log.watch()
    context = FetchContext(
        settings, "web", "s", "r", {}, Path(job["cache"]), Path(job["spool"]), Path(job["locks"])
    )
    print("ready", flush=True)
    sys.stdin.readline()
    digest = sha256()
    items = [UrlItem(url, url) for url in job["urls"]]
    for result in fetch_urls(items, context, HostLimits(job["concurrency"], job["interval_s"])):
        if isinstance(result, Reject):
            digest.update(f"{result.item} {result.reason}".encode())
        else:
            digest.update(result.body if isinstance(result.body, bytes) else result.body.read_bytes())
    print(digest.hexdigest(), orjson.dumps(log.let_go()).decode(), flush=True)


if __name__ == "__main__":
    main()
