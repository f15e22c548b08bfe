"""Is it a sample, and what are its facts: the one question that sources ask about encoded image bytes."""

import warnings
from types import TracebackType
from typing import Final, Self

from vlm_assets.images.facts import (
    FORMATS,
    MAX_FRAMES_COUNTED,
    BadImageError,
    ImageFacts,
    ImageFault,
    ProbePolicy,
    TooHeavyError,
)
from vlm_assets.images.plugins import missing_plugins
from vlm_assets.images.sniff import sniff
from vlm_assets.words.errors import OperationError, RejectReason, machine_error, of_the_machine

__all__ = ["FORMATS", "MAX_FRAMES_COUNTED", "ImageFacts", "ImageFault", "ImageProber", "ProbePolicy"]

_SHOWN_BYTES: Final = 8


class ImageProber:
    """Probes images under one policy, from any number of threads; owns the decoder processes.

    JPEG, PNG and WebP are decoded in the calling thread (Pillow releases the GIL), unless they are very large or
    have very many scans. Those, and all other formats, go to child processes, so that a decoder that crashes,
    hangs or takes too much memory costs one reject. Children are started when first needed.
    """

    def __init__(self, policy: ProbePolicy) -> None:
        unknown = sorted(policy.formats - set(FORMATS))
        if unknown:
            raise ValueError(f"unknown formats {unknown}; there are {', '.join(FORMATS)}")
        if missing := missing_plugins(policy.formats):
            raise OperationError("; ".join(missing))
        from vlm_assets.images import decode, pool  # noqa: PLC0415 - without Pillow where nothing is probed

        self._policy = policy
        self._decode = decode.probe_decoded
        self._threaded = decode.THREADED
        self._pool = pool.DecoderPool(policy)
        # Once, not around each call: catch_warnings() swaps a global and is no good in threads.
        warnings.filterwarnings("ignore", module=r"PIL\.")

    def probe(self, data: bytes) -> ImageFacts | ImageFault:
        """The facts of an admitted image, or the reason why the bytes are no sample. Bytes never make it raise.

        Raises:
            OperationError: no decoder process can be started, the machine fails (memory, descriptors, disk), or the
                prober is closed. Not a fault of the bytes.
        """
        try:
            return self._probe(data)
        except BadImageError as fault:
            return ImageFault(fault.reason, fault.detail, fault.transient)
        except OperationError:
            raise
        except Exception as error:
            if of_the_machine(error):
                raise machine_error("this machine cannot decode images now", error) from error
            return ImageFault(RejectReason.CORRUPT, f"{type(error).__name__}: {error}"[:300])

    def _probe(self, data: bytes) -> ImageFacts:
        if not data:
            raise BadImageError(RejectReason.EMPTY, "no bytes")
        if len(data) > self._policy.max_bytes:
            raise BadImageError(
                RejectReason.TOO_MANY_BYTES, f"{len(data)} bytes, the limit is {self._policy.max_bytes}"
            )
        sniffed = sniff(data)
        if sniffed is None:
            start = data[:_SHOWN_BYTES].hex(" ")
            raise BadImageError(RejectReason.NOT_AN_IMAGE, f"unknown format, begins with {start}")
        if not sniffed.is_image:
            raise BadImageError(RejectReason.NOT_AN_IMAGE, f"it is {sniffed.name}")
        if sniffed.name not in self._policy.formats:
            raise BadImageError(RejectReason.FORMAT_NOT_ALLOWED, sniffed.name)
        if sniffed.name in self._threaded:
            try:
                return self._decode(sniffed.name, data, self._policy, in_process=True)
            except TooHeavyError:
                pass
        return self._pool.probe(sniffed.name, data)

    def close(self) -> None:
        """Ends the decoder processes. May be called twice."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
