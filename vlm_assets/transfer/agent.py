"""Who asks: the name in robots.txt, and the User-Agent. Apart from what asks, for papers tell it and ask nothing."""

from importlib.metadata import version
from typing import Final

from vlm_assets.words.contexts import SourceSettings

AGENT: Final = "vlm-assets"


def user_agent(settings: SourceSettings) -> str:
    """`vlm-assets/<version> (+<contact>)`: honest, with somebody to write to."""
    contact = " ".join(settings.contact.split())
    product = f"{AGENT}/{version('vlm-assets')}"
    return f"{product} (+{contact})" if contact else product
