"""The Dagster code location: `dagster dev`, the code server and every run load this module."""

from vlm_assets.orchestration.define import build_definitions
from vlm_assets.orchestration.run.service import open_service

defs = build_definitions(open_service())
