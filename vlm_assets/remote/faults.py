"""What a connection to the remote raises when it breaks."""


def broken_connections() -> tuple[type[Exception], ...]:
    """What a broken or cut connection raises, from botocore and from below it."""
    from botocore.exceptions import ConnectionError as BotoConnectionError  # noqa: PLC0415 - half a second, where a remote is asked
    from botocore.exceptions import HTTPClientError, IncompleteReadError  # noqa: PLC0415 - half a second, where a remote is asked
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - half a second, where a remote is asked

    return HTTPClientError, IncompleteReadError, BotoConnectionError, HTTPError, ConnectionError
