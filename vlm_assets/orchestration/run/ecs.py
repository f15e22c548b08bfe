"""How large an ECS task each kind of work gets, and where steps and the values between them go beyond one machine.

`EcsRunLauncher` reads the tags from a run, `ecs_executor` from a step (`dagster_aws.ecs`, read in 0.29).
Where runs are processes they are for eyes only.
"""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from vlm_assets.catalog.spec import SourceSpec

_PAGES: Final = frozenset({"pdf_folder", "newspapers"})
_KIND_TAG: Final = "dagster/kind/"


class TaskSize(NamedTuple):
    """CPU units (1,024 a core), memory in MiB and disk in GiB, in one of the combinations that Fargate has."""

    cpu: int
    memory_mib: int
    disk_gib: int

    @property
    def tags(self) -> dict[str, str]:
        """As launcher and executor read them."""
        return {
            "ecs/cpu": str(self.cpu),
            "ecs/memory": str(self.memory_mib),
            "ecs/ephemeral_storage": str(self.disk_gib),
        }

    def covering(self, other: "TaskSize") -> "TaskSize":
        """Enough for either."""
        return TaskSize(*map(max, self, other))


WATCH: Final = TaskSize(512, 2_048, 21)
"""A run whose steps are tasks of their own."""
LISTING: Final = TaskSize(1_024, 4_096, 21)
SLICES: Final = TaskSize(2_048, 8_192, 100)
PAGES: Final = TaskSize(4_096, 16_384, 100)
"""Slices of PDF pages, which are rendered and encoded."""
TARGET: Final = TaskSize(2_048, 8_192, 200)
"""Allocation, a shard, the seal, report and checks: each has the slices or the corpus on its disk."""
BACKUP: Final = TaskSize(1_024, 4_096, 21)


def slices_size(spec: SourceSpec) -> TaskSize:
    """For slices of a source."""
    return PAGES if spec.kind in _PAGES else SLICES


def run_size(
    job: str, assets: Mapping[tuple[str, ...], Collection[str]], *, steps_are_tasks: bool
) -> TaskSize:
    """For a run of a job over assets, given by key with their tags; several assets need the largest of them."""
    if steps_are_tasks and (job == _CORPUS_JOB or ("corpus",) in assets):  # the only runs of several steps
        return WATCH
    sizes = [_asset_size(key, tags) for key, tags in assets.items()] or [_JOBS.get(job, TARGET)]
    size = sizes[0]
    for other in sizes[1:]:
        size = size.covering(other)
    return size


_CORPUS_JOB: Final = "corpus_line"
_JOBS: Final = {"listings": LISTING, "slices": PAGES, "backup_all": BACKUP}
"""By name, where a run does not say its assets: see `jobs`. The rest is about targets."""


def _asset_size(key: tuple[str, ...], tags: Collection[str]) -> TaskSize:
    if key[0] == "listing":
        return LISTING
    if key[0] == "dataset":
        return PAGES if {tag.removeprefix(_KIND_TAG) for tag in tags} & _PAGES else SLICES
    return BACKUP if key[0] == "backup" else TARGET
