"""Decoder processes: what a decoder that crashes, hangs, or takes too much costs is one image."""

import os
from pickle import PickleBuffer
from types import TracebackType
from typing import Any, Final, Self

from vlm_assets.images.facts import BadImageError, ImageFacts, ProbePolicy
from vlm_assets.words.errors import MachineError, RejectReason
from vlm_assets.workers.errors import TaskError, WorkerDiedError, WorkerSilentError
from vlm_assets.workers.pool import WorkerPool
from vlm_assets.workers.program import Limits, Program

_MAX_CHILDREN: Final = 8
_HANDLER: Final = "vlm_assets.images.decoding:decoder"


class DecoderPool:
    """Decodes in child processes, as many at once as there are cores; any thread may call it."""

    def __init__(self, policy: ProbePolicy, children: int | None = None) -> None:
        self._policy = policy
        limits = Limits(policy.decoder_memory_bytes, policy.decoder_cpu_s, policy.decoder_hang_s)
        program = Program("decoder", _HANDLER, (policy,), limits, answers="json", quiet=True)
        self._workers = WorkerPool(program, children or min(_MAX_CHILDREN, os.cpu_count() or 1))

    def probe(self, form: str, data: bytes) -> ImageFacts:
        """Facts of an image of format `form`, as `decode.probe_decoded` finds them.

        Raises:
            BadImageError: also DECODER_CRASHED, when a second child died too, and DECODER_TIMEOUT.
            OperationError: no child can be started, its machine failed, or the pool is closed: not the image's fault.
        """
        try:
            return self._probe_once(form, data)
        except BadImageError as fault:
            if fault.reason is not RejectReason.DECODER_CRASHED:
                raise
        # Once more: the first may have died of anything, the machine's memory, a signal
        return self._probe_once(form, data)

    def _probe_once(self, form: str, data: bytes) -> ImageFacts:
        try:
            answer: dict[str, Any] = self._workers.ask((form, PickleBuffer(data)))
        except WorkerDiedError as death:
            raise self._blamed(form, death) from None
        except WorkerSilentError:
            detail = f"the {form} decoder was silent for {self._policy.decoder_hang_s:g} s"
            raise BadImageError(RejectReason.DECODER_TIMEOUT, detail, transient=True) from None
        except TaskError as error:
            last = str(error).strip().rpartition("\n")[2]
            raise BadImageError(RejectReason.CORRUPT, last[:300]) from None
        if "machine" in answer:
            raise MachineError(answer["machine"])
        if "fault" in answer:
            reason, detail = answer["fault"]
            raise BadImageError(RejectReason(reason), detail)
        return ImageFacts(*answer["facts"])

    def _blamed(self, form: str, death: WorkerDiedError) -> BadImageError:
        """What the end of a decoder says of an image."""
        if death.used_up:
            detail = f"the {form} decoder used over {self._policy.decoder_cpu_s:g} s of processor time"
            return BadImageError(RejectReason.DECODER_TIMEOUT, detail, transient=True)
        return BadImageError(
            RejectReason.DECODER_CRASHED, f"the {form} decoder {death.told}", transient=death.killed
        )

    def pids(self) -> list[int]:
        """Process ids of the children that live now."""
        return self._workers.pids()

    def close(self) -> None:
        """Ends all children, also those at work: their callers get OperationError. May be called twice."""
        self._workers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
