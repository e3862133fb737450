"""The HTTP port of a worker: /livez, /readyz, /metrics, and what roles mount beside them.

Entry points: `HttpServer`. Plain text and JSON; binds to the loopback address unless told otherwise.
"""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from streams.metrics import Metrics

Check = Callable[[], Mapping[str, str]]
"""Returns what is wrong, by name; empty when all is well."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpServer:
    """Serves one process. `live` and `ready` are asked at each request; 200 when nothing is wrong, else 503.

    Liveness fails when the process must be restarted, readiness when it has not (or not yet) what it needs.
    """

    def __init__(self, metrics: Metrics, live: Check, ready: Check) -> None:
        self.app = web.Application()
        self.port = 0
        self._metrics = metrics
        self._runner: web.AppRunner | None = None
        self.mount("GET", "/livez", self._answer(live))
        self.mount("GET", "/readyz", self._answer(ready))
        self.mount("GET", "/metrics", self._page)

    def mount(self, method: str, path: str, handler: Handler) -> None:
        """Add a route; before `start`."""
        self.app.router.add_route(method, path, handler)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and return the port (0 asks the system for a free one).

        Raises:
            OSError: the port is taken.
        """
        self._runner = web.AppRunner(self.app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise OSError(error.errno, f"HTTP port {host}:{port} cannot be opened: {error.strerror}") from error
        self.port = self._runner.addresses[0][1]
        return self.port

    async def stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    @staticmethod
    def _answer(check: Check) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            wrong = check()
            return web.json_response({"ok": not wrong, **wrong}, status=503 if wrong else 200)

        return answer

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._metrics.page(), content_type="text/plain", charset="utf-8")
