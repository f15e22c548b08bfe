"""What a publication would do, as figures for a person or a script."""

from typing import Any

from vlm_assets.exports.publishing.plan import SPLIT, rows_by_config
from vlm_assets.exports.publishing.run import Decision


def decision_figures(decision: Decision) -> dict[str, Any]:
    """JSON values. Bytes are those of the file where it is there, else about what it will have."""
    there = decision.state.files if decision.state else {}
    files = [
        {
            "path": one.path,
            "rows": one.rows,
            "size_bytes": decision.kept[one.path].file.size_bytes
            if one.path in decision.kept
            else one.size_bytes,
            "state": "kept" if one.path in decision.kept else "changed" if one.path in there else "new",
        }
        for one in decision.files
    ]
    sent = [one for one in files if one["state"] != "kept"]
    return {
        "repo": decision.repo,
        "visibility": _visibility(decision),
        "commit": decision.state.sha if decision.state else None,
        "rows": decision.rows,
        "size_bytes": sum(one["size_bytes"] for one in files),
        "files_to_send": len(sent),
        "bytes_to_send": sum(one["size_bytes"] for one in sent),
        "configs": [
            {"config": name, "split": SPLIT, "rows": rows}
            for name, rows in rows_by_config(decision.files).items()
        ],
        "files": files,
        "removed": list(decision.removed),
    }


def _visibility(decision: Decision) -> str:
    if decision.state is None:
        return "public, to be made" if decision.public else "private, to be made"
    return "private" if decision.state.private else "public"
