"""Limits towards one host, as the catalogue gives them and the transfer keeps them."""

from pydantic import BaseModel, ConfigDict, Field


class HostSpec(BaseModel):
    """Politeness towards one host; what is not given is as the source has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cooldown_s: float | None = Field(None, ge=0)
    """Seconds between two requests, at least."""
    max_concurrency: int | None = Field(None, ge=1)
    """Requests at once, at most."""
    requests_per_second: float | None = Field(None, gt=0)
    """Requests a second, at most."""
