"""Tells people outside of the UI that something failed: an SNS topic, a webhook. Never raises, never tells a secret.

A message is about one run. The webhook gets JSON whose `text` chat services show as it is; SNS gets the same text.
"""

import logging
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

import orjson

from vlm_assets.operate.logs import redact
from vlm_assets.settings import Settings
from vlm_assets.transfer.tls import tls_context
from vlm_assets.words.counts import so_many

logger = logging.getLogger("vlm_assets.notify")

_TIMEOUT_S: Final = 10.0
_TRIES: Final = 2
_SHOWN_SLICES: Final = 20
_LINE: Final = 300
_SUBJECT: Final = 100
"""SNS: 100 ASCII characters, no line breaks."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed in one run."""

    event: str
    """`slices`, `listing`, `corpus`, `audit`, `backup` or `run`."""
    corpus: str
    run_id: str
    error: str
    """One line."""
    source: str = ""
    slices: tuple[str, ...] = ()
    target: str = ""
    night: str = ""
    run_url: str = ""

    @property
    def subject(self) -> str:
        """What and where, in a few words."""
        where = " ".join(part for part in (self.source, self.target) if part)
        count = f" ({so_many(len(self.slices), 'slice')})" if self.slices else ""
        return f"{self.corpus}: {self.event} failed{': ' + where if where else ''}{count}"

    @property
    def text(self) -> str:
        """The whole message."""
        shown = ", ".join(self.slices[:_SHOWN_SLICES])
        more = f" and {len(self.slices) - _SHOWN_SLICES} more" if len(self.slices) > _SHOWN_SLICES else ""
        lines = [
            self.subject,
            self.error,
            f"slices: {shown}{more}" if shown else "",
            f"night of {self.night}" if self.night else "",
            f"run {self.run_id}",
            self.run_url,
        ]
        return "\n".join(line for line in lines if line)


def one_line(text: str) -> str:
    """An error as one line without secrets, cut where it is long."""
    line = " ".join(redact(text).split())
    return line if len(line) <= _LINE else line[: _LINE - 1] + "…"


def notify(settings: Settings, failure: Failure) -> list[str]:
    """Sends one message to every place that the settings name; returns what went wrong with it, in words.

    What goes wrong is logged too, and stops nothing.
    """
    faults = [fault for fault in _send(settings, failure) if fault]
    for fault in faults:
        logger.warning("run %s: %s", failure.run_id, fault)
    return faults


def _send(settings: Settings, failure: Failure) -> Iterator[str]:
    if settings.notify_webhook is not None:
        yield _post(settings, settings.notify_webhook.get_secret_value(), failure)
    if settings.notify_sns_topic:
        yield _publish(settings.notify_sns_topic, failure)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A webhook that moves is to be set anew: its address is a secret that is not handed on."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """None of them."""
        return


def _post(settings: Settings, url: str, failure: Failure) -> str:
    context = tls_context(settings.ca_bundle)
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))
    body = orjson.dumps({"text": failure.text, **asdict(failure), "slices": list(failure.slices)})
    told = ""
    for _ in range(_TRIES):
        request = urllib.request.Request(  # noqa: S310 - http and https only, by the settings
            url, body, {"Content-Type": "application/json"}, method="POST"
        )
        try:
            with opener.open(request, timeout=_TIMEOUT_S):
                return ""
        except urllib.error.HTTPError as error:
            told = f"status {error.code}"
            error.close()
            if error.code < 500 and error.code != 429:
                break
        except (OSError, ValueError) as error:
            # Messages of the library may quote the address, whose path is the secret.
            reason = getattr(error, "reason", None)
            told = type(reason if isinstance(reason, Exception) else error).__name__
    return f"the webhook was not told: {told}"


def _publish(topic: str, failure: Failure) -> str:
    import boto3  # noqa: PLC0415 - where SNS is told alone
    from botocore.config import Config  # noqa: PLC0415 - where SNS is told alone
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - where SNS is told alone

    region = topic.split(":")[3]
    config = Config(
        connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries={"total_max_attempts": _TRIES}
    )
    subject = re.sub(r"[^\x20-\x7e]", "?", failure.subject)[:_SUBJECT]
    order = (
        {"MessageGroupId": "vlm-assets", "MessageDeduplicationId": failure.run_id}
        if topic.endswith(".fifo")
        else {}
    )
    try:
        client = boto3.client("sns", region_name=region, config=config)
        client.publish(TopicArn=topic, Subject=subject, Message=failure.text, **order)
    except ClientError as error:
        return f"the SNS topic was not told: {error.response['Error']['Code']}"
    except (BotoCoreError, ValueError) as error:
        return f"the SNS topic was not told: {type(error).__name__}"
    return ""
