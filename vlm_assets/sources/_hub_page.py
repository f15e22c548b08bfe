"""Addresses of datasets on the Hub, for the kinds that read these."""

import re
from typing import Final

HUB_PAGE: Final = re.compile(
    r"(?:(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://)datasets/([\w.-]+/[\w.-]+)"
    r"(?:/(?:tree|blob|resolve)/([^/?#]+))?(?:[/?#].*)?"
)
