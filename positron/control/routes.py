"""The table of routes, and the one resource that serves it.

Rule: a route is one line of ROUTES. Everything that is asked for passes here: the gate, the size and form of the
body, the path; everything that is answered leaves here, as JSON with the same headers.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from positron.control import metrics, page, resuming, views
from positron.control.calls import Call, read_body
from positron.control.gate import Gate
from positron.control.problems import Problem, as_json, bad_request, status_of
from positron.control.ring import EventRing
from positron.control.site import MAX_BODY, Request
from positron.control.stream import EventStream, MessageStream, Stream
from positron.errors import PositronError

SCHEMA = 1
MAX_PATTERNS = 64
MAX_HISTORY = 100_000


@frozen
class Route:
    """One route: method, path (a part in braces matches anything) and what answers it.

    `protected`: over TCP it needs the token although it is a GET. `health`: it never needs one. `local`: it is for the
    UNIX socket alone, since it names a file of this computer.
    """

    method: str
    path: str
    view: Callable[..., Any]
    protected: bool = False
    health: bool = False
    local: bool = False
    parts: tuple[str, ...] = field(init=False)

    @parts.default
    def _split(self) -> tuple[str, ...]:
        return tuple(self.path.strip("/").split("/"))

    def match(self, parts: list[str]) -> dict[str, str] | None:
        """The named parts of a path that fits, else None."""
        if len(parts) != len(self.parts):
            return None
        named: dict[str, str] = {}
        for mine, given in zip(self.parts, parts, strict=True):
            if mine.startswith("{") and given:
                named[mine.strip("{}")] = given
            elif mine != given:
                return None
        return named


class Api(Resource):
    """All routes over one node. `gate` is None on the UNIX socket."""

    isLeaf = True
    _log = Logger(namespace="positron.control")

    def __init__(self, node: Any, ring: EventRing, streams: set[Stream], gate: Gate | None = None) -> None:
        super().__init__()
        self._node = node
        self._ring = ring
        self._streams = streams
        self.gate = gate
        self._files = page.load()

    def render(self, request: Request) -> Any:
        """Answer one request."""
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        request.responseHeaders.removeHeader(b"server")
        gone = request.notifyFinish()
        answer = Deferred.fromCoroutine(self._answer(request))
        gone.addErrback(lambda _: answer.cancel())
        answer.addErrback(self._failed, request)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        """Find the route, ask its view, reply."""
        route, named = find(
            request.method.decode("latin-1"), request.path.decode("latin-1"), request.postpath or []
        )
        if self.gate is not None:
            self.gate.check(request, route.protected or route.method != "GET", route.health)
            if route.local:
                raise Problem(
                    403,
                    "refused",
                    "this is answered on the control socket alone",
                    "ask on the node's computer",
                )
        if request.too_large:
            raise Problem(
                413, "payload_too_large", f"the body is over {MAX_BODY} bytes", "send less at a time"
            )
        call = Call(
            path=named,
            query=_query(request),
            body=read_body(request.content.read()) if route.method == "POST" else {},
            last_event_id=request.getHeader("last-event-id") or "",
        )
        result = route.view(self, request, call)
        if inspect.isawaitable(result):
            result = await result
        if result is not None:
            reply(request, 200, {"schema": SCHEMA, **result})

    def _failed(self, failure: Failure, request: Request) -> None:
        """Reply with what went wrong; a fault of ours is logged and not told."""
        if failure.check(CancelledError):
            return  # the client went away while the node was working for it
        error = failure.value
        if not isinstance(error, PositronError):
            self._log.failure("the control API failed", failure=failure)
            error = Problem(500, "internal", "the node failed to answer", "its log says why")
        if request.startedWriting:
            request.channel.cut()
            return
        reply(request, status_of(error), as_json(error))

    # ------------------------------------------------------------------------------- routes that are no view

    def ask(self, view: Callable[..., Any], call: Call) -> Any:
        """What a plain view says about our node."""
        return view(self._node, call)

    def leave(self, request: Request, call: Call) -> None:
        """Answer first, then leave: leaving closes this connection."""
        call.only()
        reply(request, 200, {"schema": SCHEMA, "leaving": True})
        self._node.leave()

    def events(self, request: Request, call: Call) -> None:
        """Open a stream of the node's events, from where `Last-Event-ID` says it broke."""
        self._open(EventStream(request, self._streams.discard, self._ring, call.last_event_id))

    async def messages(self, request: Request, call: Call) -> None:
        """Open a stream of messages, from where `Last-Event-ID` says it broke, else with `history`."""
        patterns, direct = list(call.query.get("topic", ())), call.asks("direct")
        if not patterns and not direct:
            raise bad_request("topic is missing", "?topic=chat, ?topic=%23 for everything, or ?direct=1")
        if len(patterns) > MAX_PATTERNS:
            raise bad_request(f"{len(patterns)} topics are more than {MAX_PATTERNS}")
        if direct and self.gate is not None:
            self.gate.check(request, True, False)
        history = call.count("history", 0, MAX_HISTORY)
        stream = MessageStream(request, self._streams.discard)
        if call.last_event_id and not direct:  # a direct message's id may be that of a broadcast, too
            seen = await resuming.seen_before(self._node, patterns, call.last_event_id)
            if seen is not None:
                stream.seen, history = seen, resuming.MAX_MISSED
        views.asked(lambda: stream.subscribe(self._node, patterns, history, direct))
        self._open(stream)

    def _open(self, stream: Stream) -> None:
        self._streams.add(stream)
        stream.open()

    def metrics(self, request: Request, call: Call) -> None:
        """The counters, for Prometheus."""
        body, kind = metrics.exposition(self._node, request.getHeader("accept") or "")
        write(request, 200, body, kind)

    def healthz(self, request: Request, call: Call) -> None:
        """The process turns and answers."""
        write(request, 200, b"ok\n", "text/plain; charset=utf-8")

    def readyz(self, request: Request, call: Call) -> None:
        """The node is bound, its key and store are open."""
        ready = bool(self._node.ready)
        write(
            request,
            200 if ready else 503,
            b"ready\n" if ready else b"not ready\n",
            "text/plain; charset=utf-8",
        )

    def file(self, request: Request, call: Call) -> None:
        """A file of the status page."""
        body, kind = self._files[request.path.decode("ascii")]
        write(request, 200, body, kind)


def _view(view: Callable[..., Any]) -> Callable[[Api, Request, Call], Any]:
    """A view as a route's answer."""
    return lambda api, request, call: api.ask(view, call)


ROUTES = (
    Route("GET", "/v1/status", _view(views.status)),
    Route("GET", "/v1/id", _view(views.identity)),
    Route("GET", "/v1/peers", _view(views.peers)),
    Route("GET", "/v1/topics", _view(views.topics)),
    Route("GET", "/v1/stats", _view(views.stats)),
    Route("GET", "/v1/trust", _view(views.trust)),
    Route("GET", "/v1/trust/{id}", _view(views.trust_of)),
    Route("GET", "/v1/config", _view(views.config)),
    Route("GET", "/v1/messages/{id}", _view(views.message)),
    Route("GET", "/v1/events", Api.events),
    Route("GET", "/v1/stream", Api.messages),
    Route("POST", "/v1/publish", _view(views.publish)),
    Route("POST", "/v1/send", _view(views.send)),
    Route("POST", "/v1/peers", _view(views.add_peer)),
    Route("POST", "/v1/peers/{id}/drop", _view(views.drop_peer)),
    Route("POST", "/v1/peers/{id}/forget", _view(views.forget_peer)),
    Route("POST", "/v1/peers/{id}/ban", _view(views.ban_peer)),
    Route("POST", "/v1/peers/{id}/ping", _view(views.ping_peer)),
    Route("POST", "/v1/trust/{id}", _view(views.set_trust)),
    Route("POST", "/v1/leave", Api.leave),
    Route("POST", "/v1/reload", _view(views.reload)),
    Route("POST", "/v1/backup", _view(views.backup), local=True),
    Route("GET", "/metrics", Api.metrics),
    Route("GET", "/healthz", Api.healthz, health=True),
    Route("GET", "/readyz", Api.readyz, health=True),
    *(Route("GET", path, Api.file) for path in page.FILES),
)

HEADERS = {
    b"cache-control": b"no-store",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": page.POLICY.encode("ascii"),
}
"""The headers of every reply."""


def find(method: str, path: str, parts: list[bytes]) -> tuple[Route, dict[str, str]]:
    """The route for a request, and the named parts of its path. `Problem` 404 or 405 if there is none."""
    wanted = "GET" if method == "HEAD" else method
    decoded = [part.decode("utf-8", "replace") for part in parts]
    allowed = []
    for route in ROUTES:
        named = route.match(decoded)
        if named is not None and route.method == wanted:
            return route, named
        if named is not None:
            allowed.append(route.method)
    if allowed:
        raise Problem(405, "method", f"{method} is not for this path", f"use {' or '.join(allowed)}")
    raise Problem(404, "not_found", "there is nothing at this path", "/v1/status is a beginning")


def _query(request: Request) -> dict[str, list[str]]:
    """The query of a request."""
    _, _, query = request.uri.partition(b"?")
    try:
        return parse_qs(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=256)
    except ValueError:
        raise bad_request("the query is not UTF-8 in percent-encoding, or has over 256 fields") from None


def reply(request: Request, status: int, body: dict[str, Any]) -> None:
    """Answer with one JSON object."""
    write(request, status, json.dumps(body).encode("ascii") + b"\n", "application/json")


def write(request: Request, status: int, body: bytes, kind: str) -> None:
    """Answer with a whole body, unless the client is gone."""
    if request.gone:
        return
    request.setResponseCode(status)
    request.setHeader(b"content-type", kind.encode("ascii"))
    request.setHeader(b"content-length", b"%d" % len(body))
    if status == 401:
        request.setHeader(b"www-authenticate", b"Bearer")
    request.write(body)
    request.finish()
