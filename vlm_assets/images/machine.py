"""Tells what an exception of a decoder says of the machine from what it says of the bytes."""

from typing import Final

from vlm_assets.words.errors import MachineError, machine_error, of_the_machine

_NO_MEMORY: Final = "out of memory"
"""How Pillow's own codecs say it, in an `OSError` (`ImageFile.ERRORS`, -9)."""


def check_machine(error: BaseException) -> None:
    """Returns where an exception is the fault of the bytes, for all that can be told.

    Raises:
        MemoryError: the decode needs more than there is here.
        MachineError: anything else of the machine.
    """
    if isinstance(error, MachineError):
        raise error
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and str(error).startswith(_NO_MEMORY)):
        raise MemoryError(str(error)) from error
    if of_the_machine(error):
        raise machine_error("this machine cannot decode images now", error) from error
