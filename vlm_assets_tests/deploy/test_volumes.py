"""First boot mounts the volumes that the stack names and formats nothing else; stand-ins for the tools of disks."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from vlm_assets_tests.deploy.scripts import DEPLOY

TOOLS = {
    # The columns that are asked for, of the disks in $DISKS: name, serial, file system, parts.
    "lsblk": """
        case "$*" in
          *SERIAL*) awk '{ print "/dev/" $1, $2 }' "$DISKS" ;;
          *FSTYPE*) awk -v d="${@: -1}" '"/dev/" $1 == d && $3 != "-" { print $3 }' "$DISKS" ;;
          *) awk -v d="${@: -1}" '"/dev/" $1 == d { for (i = 0; i <= $4; i++) print $1 }' "$DISKS" ;;
        esac""",
    "blkid": 'echo "uuid-of-${@: -1}"',
    "mkfs.xfs": 'echo "mkfs $*" >>"$DONE"',
    "mountpoint": 'grep -q "^mount ${@: -1}$" "$DONE"',
    "mount": 'echo "mount $*" >>"$DONE"',
}


@dataclass
class Machine:
    """A machine whose disks are lines of a file."""

    folder: Path

    def disks(self, *lines: str) -> None:
        (self.folder / "disks").write_text("".join(f"{line}\n" for line in lines))

    def mount(self, volume: str, label: str = "vlm-data") -> subprocess.CompletedProcess[str]:
        (self.folder / "done").touch()
        environment = {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "DISKS": f"{self.folder}/disks",
            "DONE": f"{self.folder}/done", "FSTAB": f"{self.folder}/fstab",
            "VOLUME_TRIES": "2", "VOLUME_PAUSE_S": "0",
        }  # fmt: skip
        (self.folder / "fstab").touch()
        words = 'set -euo pipefail; source "$0"; NEW=""; mount_volume "$1" "$2" "$3"; echo "NEW:$NEW"'
        command = [
            "bash",
            "-c",
            words,
            str(DEPLOY / "aws/volumes.sh"),
            volume,
            label,
            str(self.folder / "point"),
        ]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    @property
    def done(self) -> list[str]:
        return (self.folder / "done").read_text("utf-8").replace(str(self.folder), "").splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "bin").mkdir()
    for name, text in TOOLS.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)
    return Machine(tmp_path)


def test_a_blank_volume_is_found_by_its_id_beside_a_larger_blank_disk(machine: Machine):
    """An instance store is the largest blank disk, and is empty again after the next stop."""
    machine.disks("nvme0n1 AWS1234 - 0", "nvme1n1 vol0home - 0", "nvme2n1 vol0data - 0")
    ran = machine.mount("vol-0data")
    assert ran.stdout == "NEW: vlm-data\n"
    assert machine.done == ["mkfs -q -L vlm-data /dev/nvme2n1", "mount /point"]
    assert (machine.folder / "fstab").read_text("utf-8").startswith("UUID=uuid-of-/dev/nvme2n1 ")


def test_a_volume_of_an_earlier_machine_is_mounted_as_it_is(machine: Machine):
    machine.disks("nvme1n1 vol0data xfs 0")
    for _ in range(2):  # and again changes nothing
        assert machine.mount("vol-0data").stdout == "NEW:\n"
    assert machine.done == ["mount /point"]
    assert len((machine.folder / "fstab").read_text("utf-8").splitlines()) == 1


@pytest.mark.parametrize(
    ("disk", "told"),
    [
        ("nvme1n1 vol0other - 0", "vol-0data (vlm-data) is not attached"),
        ("nvme1n1 vol0data ext4 0", "holds ext4"),
        ("nvme1n1 vol0data - 2", "has partitions"),
    ],
    ids=["another", "file-system", "partitions"],
)
def test_no_other_disk_is_touched(machine: Machine, disk: str, told: str):
    machine.disks(disk)
    ran = machine.mount("vol-0data")
    assert ran.returncode != 0
    assert told in ran.stderr
    assert machine.done == []
