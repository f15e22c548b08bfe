"""How large an ECS task each kind of work gets, and where steps and the values between them go beyond one machine.

`EcsRunLauncher` reads the tags from a run, `ecs_executor` from a step (`dagster_aws.ecs`, read in 0.29).
Where runs are processes they are for eyes only.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import reduce
from typing import Final, NamedTuple

from vlm_assets.sources.registry import kinds, traits_of

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
        return TaskSize.fitting(*map(max, self, other))

    @classmethod
    def fitting(cls, cpu: int, memory_mib: int, disk_gib: int) -> "TaskSize":
        """The smallest combination with at least that much.

        Raises:
            ValueError: Fargate has none so large.
        """
        for one, least, most, step in _COMBINATIONS:
            if one >= cpu and most >= memory_mib:
                steps = -(-max(memory_mib - least, 0) // step)
                return cls(one, least + steps * step, disk_gib)
        raise ValueError(f"no Fargate task has {cpu} CPU units and {memory_mib} MiB")


_COMBINATIONS: Final = (
    (512, 1_024, 4_096, 1_024), (1_024, 2_048, 8_192, 1_024), (2_048, 4_096, 16_384, 1_024),
    (4_096, 8_192, 30_720, 1_024), (8_192, 16_384, 61_440, 4_096), (16_384, 32_768, 122_880, 8_192),
)  # fmt: skip
"""CPU units with least and most memory and its steps: Amazon ECS developer guide, "Task CPU and memory"."""


WATCH: Final = TaskSize(512, 2_048, 21)
"""A run whose steps are tasks of their own."""
LISTING: Final = TaskSize(1_024, 4_096, 21)
TARGET: Final = TaskSize(2_048, 8_192, 200)
"""Allocation, a shard, the seal, report and checks: each has the slices or the corpus on its disk."""
BACKUP: Final = TaskSize(1_024, 4_096, 21)


def slices_size(of: Iterable[str]) -> TaskSize:
    """For slices of any of these kinds, one at a time."""
    sizes = [TaskSize.fitting(_cpu(kind), traits_of(kind).memory_mib, _SLICES_GIB) for kind in of]
    return reduce(TaskSize.covering, sizes)


_SLICES_GIB: Final = 100


def _cpu(kind: str) -> int:
    return 4_096 if traits_of(kind).renders_pages else 2_048


def run_size(
    job: str, assets: Mapping[tuple[str, ...], Collection[str]], *, steps_are_tasks: bool
) -> TaskSize:
    """For a run of a job over assets, given by key with their tags; several assets need the largest of them."""
    if steps_are_tasks and (job == _CORPUS_JOB or ("corpus",) in assets):  # the only runs of several steps
        return WATCH
    return reduce(
        TaskSize.covering, [_asset_size(key, tags) for key, tags in assets.items()] or [_job_size(job)]
    )


_CORPUS_JOB: Final = "corpus_line"


def _job_size(job: str) -> TaskSize:
    """By name, where a run does not say its assets: see `jobs`. What is not about slices is about targets."""
    if job == "slices":  # of sources that only its config names
        return slices_size(kinds())
    return {"listings": LISTING, "backup_all": BACKUP}.get(job, TARGET)


def _asset_size(key: tuple[str, ...], tags: Collection[str]) -> TaskSize:
    if key[0] == "listing":
        return LISTING
    if key[0] == "dataset":
        return slices_size({tag.removeprefix(_KIND_TAG) for tag in tags}.intersection(kinds()) or kinds())
    return BACKUP if key[0] == "backup" else TARGET
