"""What a person grants a run that fetches, beyond what is due: config of the launchpad, or tags of a command."""

from collections.abc import Mapping

import dagster as dg
from pydantic import Field

from vlm_assets.orchestration.names import ACCEPT_DRIFT_TAG, ACCEPT_RENDERER_TAG, FORCE_TAG


class FetchConfig(dg.Config):
    """Shown by the launchpad of *Materialize*; nothing needs to be given."""

    force_redownload: bool = Field(
        default=False, description="Fetch the slices anew though they are committed."
    )
    accept_drift: bool = Field(
        default=False,
        description="Take other pictures that came from unchanged addresses, and release the quarantine.",
    )
    accept_renderer: bool = Field(
        default=False, description="Draw slices again that a machine of another renderer identity has drawn."
    )

    def granted(self, tags: Mapping[str, str]) -> "FetchConfig":
        """What config and tags grant together."""
        return FetchConfig(
            force_redownload=self.force_redownload or FORCE_TAG in tags,
            accept_drift=self.accept_drift or ACCEPT_DRIFT_TAG in tags,
            accept_renderer=self.accept_renderer or ACCEPT_RENDERER_TAG in tags,
        )
