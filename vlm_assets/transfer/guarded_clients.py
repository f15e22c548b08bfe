"""httpx2 and requests over connections that the guard opens, and through the proxies of the settings."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from yarl import URL

from vlm_assets.transfer.guard import Guard

if TYPE_CHECKING:
    import ssl

    import httpx2
    from requests.adapters import HTTPAdapter


def guarded_transport(guard_of: Callable[[], Guard], tls: "ssl.SSLContext") -> "httpx2.BaseTransport":
    """A transport for `httpx2.Client` whose every connection the guard opens.

    `guard_of` is asked at each request and connection: the client may be shared by sources of other settings.
    """
    import httpcore2  # noqa: PLC0415 - the Hub's client alone
    import httpx2  # noqa: PLC0415 - the Hub's client alone

    class Backend(httpcore2.SyncBackend):
        def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore2.NetworkStream:
            failed: Exception = httpcore2.ConnectError(f"{host} has no address")
            try:
                addresses = guard_of().addresses(host, port)
            except OSError as error:
                raise httpcore2.ConnectError(str(error)) from error
            for info in addresses:
                try:
                    return super().connect_tcp(str(info[4][0]), port, *args, **options)
                except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                    failed = error
            raise failed

    def opened(proxy: str | None) -> httpx2.HTTPTransport:
        made = httpx2.HTTPTransport(verify=tls, proxy=proxy, trust_env=False)
        made._pool._network_backend = Backend()  # noqa: SLF001 - the pool's own parameter, which httpx2 hides
        return made

    class Transport(httpx2.BaseTransport):
        def __init__(self) -> None:
            self._by_proxy: dict[str | None, httpx2.HTTPTransport] = {}

        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            url = URL(str(request.url), encoded=True)
            proxy = guard_of().proxy_for(url)
            key = None if proxy is None else str(proxy)
            if key not in self._by_proxy:
                self._by_proxy[key] = opened(key)
            return self._by_proxy[key].handle_request(request)

        def close(self) -> None:
            for transport in self._by_proxy.values():
                transport.close()

    return Transport()


def guard_adapter(adapter: "HTTPAdapter", guard: Guard) -> None:
    """Make an adapter of requests open its connections through the guard, to proxies too."""
    import urllib3  # noqa: PLC0415 - Kaggle's client alone
    from urllib3.exceptions import NewConnectionError  # noqa: PLC0415 - Kaggle's client alone

    def new_connection(connection: Any) -> Any:
        timeout = connection.timeout
        try:
            return guard.connect(
                connection.host, connection.port,
                timeout if isinstance(timeout, int | float) else None, connection.socket_options or (),
            )  # fmt: skip
        except OSError as error:
            raise NewConnectionError(connection, f"no connection: {error}") from error

    class Plain(urllib3.connection.HTTPConnection):
        _new_conn = new_connection

    class Tls(urllib3.connection.HTTPSConnection):
        _new_conn = new_connection

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Tls

    pools = {"http": PlainPool, "https": TlsPool}
    adapter.poolmanager.pool_classes_by_scheme = pools
    unguarded = adapter.proxy_manager_for

    def proxy_manager_for(proxy: str, **options: Any) -> Any:
        manager = unguarded(proxy, **options)
        manager.pool_classes_by_scheme = pools
        return manager

    adapter.proxy_manager_for = proxy_manager_for  # type: ignore[method-assign]
