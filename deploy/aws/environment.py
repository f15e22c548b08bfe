"""Writes the settings of this stack, as Parameter Store has them, into files that systemd and a shell read alike.

    environment.py FOLDER        FOLDER/vlm.env for the services, FOLDER/volumes.env for the first boot

Run by vlm-environment.service before the services start, into a folder in memory: a secret is on no disk.
`VLM_STACK` and the region come from the environment (/etc/vlm-assets/stack.env).
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

FIXED = {
    "VLM_PROFILE": "aws",
    "VLM_DATA_ROOT": "/data/vlm",
    "VLM_CATALOG": "/data/catalogue",
    "DAGSTER_HOME": "/var/lib/vlm-assets/dagster",
}
"""What a parameter of the same name overrides."""

_NAME = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_ESCAPED = re.compile(r'(["\\$`])')


class EnvironmentFaultError(Exception):
    """A parameter that no environment can hold."""


def line(path: str, value: str) -> str:
    """`NAME="value"` as both systemd and a shell read it: blanks, quotes and dollars stay what they are."""
    name = path.rsplit("/", 1)[1]
    if not _NAME.match(name):
        raise EnvironmentFaultError(
            f"{path}: names are capitals, digits and _, as HF_TOKEN; rename the parameter"
        )
    if any(ord(sign) < 32 for sign in value):
        raise EnvironmentFaultError(
            f"{path}: its value has a line break or control sign; put it again on one line"
        )
    escaped = _ESCAPED.sub(r"\\\1", value)
    return f'{name}="{escaped}"\n'


def parameters(client: Any, path: str) -> dict[str, str]:
    """Values by full name, secrets decrypted."""
    pages = client.get_paginator("get_parameters_by_path").paginate(Path=path, WithDecryption=True)
    return {one["Name"]: one["Value"] for page in pages for one in page["Parameters"]}


def write(folder: Path, client: Any, stack: str, region: str) -> None:
    """Both files, each whole or as it was; nobody but their owner may read them."""
    fixed = {**FIXED, "VLM_STACK": stack, "AWS_DEFAULT_REGION": region}
    found = {f"/fixed/{name}": value for name, value in fixed.items()}
    given = parameters(client, f"/vlm-assets/{stack}/env/")
    if not given:
        raise EnvironmentFaultError(f"no parameters under /vlm-assets/{stack}/env/; is the stack called so?")
    found = {
        name: value for name, value in found.items() if f"/vlm-assets/{stack}/env/{name[7:]}" not in given
    }
    _write(folder / "vlm.env", {**found, **given})
    _write(folder / "volumes.env", parameters(client, f"/vlm-assets/{stack}/volumes/"))


def _write(path: Path, values: dict[str, str]) -> None:
    text = "".join(line(name, value) for name, value in sorted(values.items()))
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(text, "utf-8")
    fresh.replace(path)


def main() -> int:
    """Asks Parameter Store; 1 where it has something that cannot be used."""
    import boto3  # noqa: PLC0415 - the tests bring their own

    stack, region = os.environ["VLM_STACK"], os.environ["AWS_DEFAULT_REGION"]
    try:
        write(Path(sys.argv[1]), boto3.client("ssm", region_name=region), stack, region)
    except EnvironmentFaultError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
