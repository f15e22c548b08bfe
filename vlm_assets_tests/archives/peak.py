"""Reads an archive in a process of its own and prints how much memory that took. Arguments: kind, file."""

import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path

from vlm_assets.archives.limits import ArchiveLimits
from vlm_assets.hub.readers import Reading, read_data_file
from vlm_assets.words.errors import LeftOut, Reject, SourceError


def main(kind: str, path: Path) -> None:
    told: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as spool:
        reading = Reading(ArchiveLimits(256 * 2**20), spool_dir=Path(spool))
        try:
            for event in read_data_file(path, kind, path.name, path.name, reading):
                told[str(event.reason) if isinstance(event, Reject | LeftOut) else "record"] += 1
        except SourceError as error:
            told[type(error).__name__] += 1
    # Not `ru_maxrss` of this process: it begins with the size of the process that started it (execve keeps it).
    own = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(max(own, child) // 1024, *sorted(told))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
