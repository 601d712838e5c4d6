"""Server-sent events: open responses that are written to as things happen.

Rule: a client that does not read costs the node no memory. The transport says when its buffer is full; from then
on an event stream waits at its place in the ring and later tells, as `lagged`, how many it missed, and a message
stream makes the subscription wait, which keeps to its own bound and reads the rest from the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from positron.control.ring import EventRing
from positron.control.site import Request
from positron.control.views import message_line
from positron.store.topics import matches


def encode(event: str, data: str, event_id: str = "") -> bytes:
    """One event on the wire. `data` is JSON on one line."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {event}\ndata: {data}\n\n".encode()


@implementer(IPushProducer)
class Stream:
    """One open response. Subclasses say what to write, in `pump`, and what to give up, in `closed`."""

    def __init__(self, request: Request, gone: Callable[[Stream], None]) -> None:
        self.paused = False
        self._request: Request | None = request
        self._gone = gone

    def open(self) -> None:
        """Begin the response. Its first line, a comment, tells the client that from now on it misses nothing."""
        request = self._request
        if request is not None:
            request.setHeader(b"content-type", b"text/event-stream; charset=utf-8")
            request.notifyFinish().addBoth(self._finished)
            request.registerProducer(self, True)
            self.write(b": open\n\n")
            self.pump()

    def write(self, data: bytes) -> None:
        """Send some bytes now, or hand them to the transport's buffer."""
        if self._request is not None:
            self._request.write(data)

    def pump(self) -> None:
        """Write what waits. Called when the transport has room again."""

    def closed(self) -> None:
        """The response is over: give up what fed it."""

    def close(self) -> None:
        """End the response from our side."""
        request = self._request
        if request is not None:
            request.unregisterProducer()
            request.finish()

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self.paused = True

    def resumeProducing(self) -> None:
        """The transport's buffer has room."""
        self.paused = False
        self.pump()

    def stopProducing(self) -> None:
        """The connection is gone; `notifyFinish` tells the rest."""
        self.paused = True

    def _finished(self, _: Failure | None) -> None:
        """The response ended, by either side."""
        if self._request is None:
            return
        self._request = None
        self.closed()
        self._gone(self)


class EventStream(Stream):
    """The node's events, from the ring. `cursor` is the number of the next one to write."""

    def __init__(
        self, request: Request, gone: Callable[[Stream], None], ring: EventRing, last_event_id: str
    ) -> None:
        super().__init__(request, gone)
        self._ring = ring
        self._cursor = ring.after(last_event_id)
        ring.watchers.add(self.pump)

    def pump(self) -> None:
        """Write events until the ring's end or until the transport has enough."""
        ring = self._ring
        while not self.paused and self._cursor < ring.next:
            if self._cursor < ring.first:
                skipped, self._cursor = ring.first - self._cursor, ring.first
                self.write(encode("lagged", json.dumps({"event": "Lagged", "topic": "", "skipped": skipped})))
                continue
            number, self._cursor = self._cursor, self._cursor + 1
            self.write(encode("event", ring.get(number), ring.id_of(number)))

    def closed(self) -> None:
        """Watch the ring no longer."""
        self._ring.watchers.discard(self.pump)


class MessageStream(Stream):
    """Messages of some topic patterns, and direct ones if asked for, as the application of this node gets them."""

    def __init__(self, request: Request, gone: Callable[[Stream], None]) -> None:
        super().__init__(request, gone)
        self.seen: set[str] = set()
        """Ids of history that the client has already."""
        self._subscriptions: list[Any] = []
        self._patterns: list[str] = []
        self._waiting: list[Deferred[None]] = []

    def subscribe(self, node: Any, patterns: Sequence[str], history: int, direct: bool) -> None:
        """Subscribe to all of it, or to nothing and raise what the node raised.

        A message that several patterns match comes once, by the first of them.
        """
        try:
            self._subscribe(node, patterns, history, direct)
        except BaseException:
            self.closed()
            raise

    def _subscribe(self, node: Any, patterns: Sequence[str], history: int, direct: bool) -> None:
        self._patterns = list(dict.fromkeys(patterns))
        for index, pattern in enumerate(self._patterns):
            self._subscriptions.append(node.subscribe(pattern, self._taker(index), history=history))
        if direct:
            self._subscriptions.append(node.on_direct(lambda message: self._send("direct", message)))
        self._subscriptions.append(node.on_event(self._heard))

    def pump(self) -> None:
        """Let the subscriptions go on."""
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    def closed(self) -> None:
        """Cancel the subscriptions and release what they wait for."""
        for subscription in self._subscriptions:
            subscription.cancel()
        self.pump()

    def _taker(self, index: int) -> Callable[[Any], Deferred[None] | None]:
        """What the subscription of pattern `index` calls."""
        earlier = self._patterns[:index]

        def take(message: Any) -> Deferred[None] | None:
            if any(matches(pattern, message.topic) for pattern in earlier):
                return None
            if message.id in self.seen:
                self.seen.discard(message.id)
                return None
            return self._send("message", message)

        return take

    def _send(self, event: str, message: Any) -> Deferred[None] | None:
        """Write a message; the next one of its subscription waits while the transport's buffer is full."""
        self.write(encode(event, json.dumps(message_line(message)), message.id))
        if not self.paused:
            return None
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _heard(self, notice: Any) -> None:
        """Pass on that a subscription of ours had to skip messages."""
        if type(notice).__name__ == "Lagged" and self._waiting and notice.topic in self._patterns:
            data = {"event": "Lagged", "topic": notice.topic, "skipped": notice.skipped}
            self.write(encode("lagged", json.dumps(data)))
