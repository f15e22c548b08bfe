"""What a person should look at of a slice that was fetched: lines that `run.json` keeps beside the counts."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from vlm_assets.archives.encodings import name_hint
from vlm_assets.ingest.ledgers import Ledgers
from vlm_assets.words.caption_counts import GUESSED_NAME

logger = logging.getLogger("vlm_assets.ingest")
NAME_HINT: Final = "name_hint"
"""Key of the details: what to do about names in archives whose encoding nobody declares."""


def note_names(name: str, ledgers: Ledgers, before: Mapping[str, Any]) -> dict[str, Any]:
    """Details of a run about names that may be read wrong, which it logs; {} without any.

    `name`: the slice's, for the log. `before`: the details of the last run, of which items were taken over.
    """
    if not ledgers.figures()["remarks"].get(GUESSED_NAME):
        return {}
    hint = name_hint(sorted(ledgers.guessed_names))
    if hint:
        logger.warning("%s: %s", name, hint)
    told = hint or before.get(NAME_HINT)
    return {NAME_HINT: told} if told else {}
