"""Parts of objects without the client's machinery around each request, which costs four times what the request does.

An address is signed once an object (a presigned URL, SigV4; the header `Range` may be added to it) and used for some
minutes. It is a secret: nothing raised here names it. Whatever is not the part that was asked for is left to the
client, which knows how to try again and what to say.
"""

import time
from typing import Any, Final

from vlm_assets.remote.faults import broken_connections

_SIGNED_S: Final = 3_600
_USED_S: Final = 600.0
"""Temporary credentials end; the client renews them some minutes before."""
_SAYS_NOTHING: Final = frozenset({404, 416, 429})
"""Refusals that are about the object or the moment, not about how it was asked for."""


class DirectParts:
    """Reads parts over the connections of a boto3 client. For several threads at once."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._urls: dict[tuple[str, str], tuple[str, float]] = {}
        self._refused = False

    def get(self, bucket: str, key: str, begin: int, end: int) -> tuple[bytes, str] | None:
        """The bytes and their `Content-Range`; None where the client has to ask."""
        from botocore.awsrequest import AWSPreparedRequest  # noqa: PLC0415 - half a second, where a remote is asked
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - half a second, where a remote is asked

        if self._refused:
            return None
        headers = {"Range": f"bytes={begin}-{end - 1}", "User-Agent": self._client.meta.config.user_agent}
        try:
            request = AWSPreparedRequest("GET", self._url(bucket, key), headers, None, stream_output=False)
            session = self._client._endpoint.http_session  # noqa: SLF001 - its pool, proxies and certificates
            answer = session.send(request)
        except (*broken_connections(), BotoCoreError):
            return None
        if answer.status_code == 206:
            if len(answer.content) != int(answer.headers.get("Content-Length", -1)):
                return None  # cut: the session does not look
            return answer.content, str(answer.headers.get("Content-Range", ""))
        if 400 <= answer.status_code < 500 and answer.status_code not in _SAYS_NOTHING:
            self._refused = True  # a store or a policy that takes no signed addresses
        return None

    def _url(self, bucket: str, key: str) -> str:
        url, until = self._urls.get((bucket, key), ("", 0.0))
        if time.monotonic() >= until:
            url = self._client.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=_SIGNED_S
            )
            self._urls[bucket, key] = url, time.monotonic() + _USED_S
        return url
