"""What the application says and hears: publishing, sending, and the subscriptions.

Rule: nothing a subscriber does reaches the core or another subscriber. Data is checked at the call and decoded at
delivery, within limits; a payload that does not decode is counted and goes to nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from positron.core.direct import Acknowledged
from positron.core.envelope import Entry, Sealer
from positron.core.events import Deliver, Event, Publish, Published, Sealed, SendDirect, Tick
from positron.core.identity import to_text
from positron.core.notices import Lagged, Notice
from positron.core.records import EnvelopeKept
from positron.errors import NoPeers, NotRunning, StoreError
from positron.services import reading
from positron.services.payload import check_topic, decode, encode
from positron.services.receipts import Receipts
from positron.services.streams import MessageStream
from positron.services.subscriptions import Got, Span, Subscription
from positron.services.values import (
    Acknowledgement,
    Message,
    Receipt,
    Topic,
    epoch_prefix,
    message_id,
    message_of,
)
from positron.services.waiting import Tokens
from positron.store import Store

__all__ = ["Acknowledgement", "GossipService", "Message", "Receipt", "Subscription", "Topic"]

MAX_TOPICS = 1024
"""Topics counted by name; messages of further ones are delivered and not listed."""
MAX_HISTORY = 65_536
"""Messages that one call or subscription may ask for: as many as retention keeps envelopes."""

_text = lru_cache(maxsize=4096)(to_text)


class GossipService(Service):
    """Performs `Deliver`, `Sealed`; feeds `Publish` and `SendDirect`. Subscriptions outlive a stop and a start."""

    _log = Logger()

    def __init__(
        self,
        step: Callable[[Event], None],
        accept: Callable[[Entry], int],
        tokens: Tokens,
        tell: Callable[[Notice], None],
        network_id: bytes,
    ) -> None:
        self.errors_total = 0
        self.undecodable_total = 0
        self._step = step
        self._accept = accept
        self._tokens = tokens
        self._tell = tell
        self._sealer = Sealer(network_id)
        self._receipts = Receipts()
        self._store: Store | None = None
        self._author = ""
        self._epoch = 0
        self._subscriptions: list[Subscription] = []
        self._routes: dict[str, tuple[Subscription, ...]] = {}
        self._counts: dict[str, int] = {}
        self._streams: list[MessageStream] = []

    # --------------------------------------------------------------------------------------- starting, stopping

    def open(self, node_id: bytes, epoch: int, store: Store) -> None:
        """The node is ready: publish from now on, and replay history to those who subscribed before."""
        self._author = to_text(node_id)
        self._epoch = epoch
        self._store = store
        self._receipts = Receipts()
        self.startService()
        for subscription in tuple(self._subscriptions):
            if subscription.held:
                self._replay(subscription)

    def shut(self) -> None:
        """The node is stopping: publish no more. What was delivered already still reaches its subscribers."""
        if self.running:
            self.stopService()

    def finish(self) -> None:
        """Nothing will be delivered any more: every stream ends once it is read."""
        for stream in tuple(self._streams):
            stream.finish()

    def forget(self) -> None:
        """The store is closed: whoever still waits for it is told so."""
        self._receipts.fail_all(NotRunning("the node stopped before it was stored"))
        self._store = None

    # ------------------------------------------------------------------------------------------------- speaking

    def publish(self, topic: str, data: object, min_peers: int, peers: int) -> Deferred[Receipt]:
        """See `Node.publish`; `peers` is how many are linked now."""
        entry = (check_topic(topic), encode(data))
        if not self.running:
            return fail(NotRunning("the node is not running"))
        if peers < min_peers:
            return fail(NoPeers(f"{peers} of {min_peers} links are up"))
        seq = self._accept(entry)
        if seq:
            return succeed(self._receipt(seq, peers))
        token, accepted = self._tokens.ask(self._accepted)
        self._step(Publish(token, [entry]))
        return accepted

    def send(self, recipient: bytes, data: object, timeout: float) -> Deferred[Acknowledgement]:
        """See `Node.send`."""
        payload = encode(data)
        if not self.running:
            return fail(NotRunning("the node is not running"))
        token, acknowledged = self._tokens.ask(self._acknowledged)
        self._step(SendDirect(token, recipient, payload, timeout))
        return acknowledged

    def flush(self) -> Deferred[None]:
        """See `Node.flush`."""
        if self._store is None:
            return fail(NotRunning("the node is not running"))
        # What this turn published is sealed now; in a flood, or over budget, that takes its time.
        self._step(Tick())
        return self._store.flush().addCallback(lambda _: self._receipts.settled())

    def _accepted(self, published: Published) -> Receipt:
        return self._receipt(published.seq, published.peers)

    def _receipt(self, seq: int, peers: int) -> Receipt:
        self._receipts.accepted = seq
        return Receipt(
            id=message_id(self._author, self._epoch, seq), seq=seq, peers=peers, receipts=self._receipts
        )

    def _acknowledged(self, acknowledged: Acknowledged) -> Acknowledgement:
        return Acknowledgement(
            id=message_id(self._author, acknowledged.epoch, acknowledged.seq), rtt_seconds=acknowledged.rtt
        )

    def sealed(self, action: Sealed) -> None:
        """Perform `Sealed`: these messages are on disk when its mark is."""
        self._receipts.sealed(action.seq, action.count, action.mark)

    def stored(self, mark: int) -> None:
        """The store has everything up to `mark`."""
        self._receipts.stored(mark)

    def storing(self, healthy: bool) -> None:
        """Whether the store takes envelopes."""
        self._receipts.storing(healthy)

    # ------------------------------------------------------------------------------------------------ listening

    def subscribe(self, pattern: str, got: Got, *, history: int = 0, direct: bool = False) -> Subscription:
        """See `Node.subscribe` and `Node.on_direct`."""
        check_topic(pattern)
        if not callable(got):
            raise TypeError("a subscriber is called with each message")
        if not 0 <= history <= MAX_HISTORY:
            raise ValueError(f"history is 0 to {MAX_HISTORY}, not {history}")
        subscription = Subscription(pattern, got, self, history=history, direct=direct)
        self._subscriptions.append(subscription)
        self._routes.clear()
        if history:
            subscription.hold()
            if self.running:
                self._replay(subscription)
        return subscription

    def messages(self, pattern: str, history: int) -> MessageStream:
        """See `Node.messages`."""
        stream = MessageStream(
            lambda got: self.subscribe(pattern, got, history=history), self._streams.remove
        )
        self._streams.append(stream)
        return stream

    def deliver(self, action: Deliver) -> None:
        """Perform `Deliver`."""
        # What all messages of the bundle share is made once.
        author = _text(action.author)
        prefix = epoch_prefix(author, action.epoch)
        created = action.created_ms / 1000
        for seq, (topic, payload) in enumerate(action.entries, action.seq):
            targets = self._direct() if action.direct else self._route(topic)
            if action.history:
                targets = tuple(each for each in targets if each.history)
            if not targets:
                continue
            try:
                data = decode(payload)
            except ValueError:
                self.undecodable_total += 1
                continue
            message = message_of(
                {
                    "topic": topic,
                    "data": data,
                    "payload": payload,
                    "author": author,
                    "id": f"{prefix}{seq}",
                    "seq": seq,
                    "created": created,
                    "hops": action.hops,
                    "received": action.received,
                    "late": action.late,
                }
            )
            targets[0].offer(message, action.author, action.epoch)
            if len(targets) > 1:
                self._offer_copies(targets[1:], message, action)

    def _offer_copies(self, targets: tuple[Subscription, ...], message: Message, action: Deliver) -> None:
        for subscription in targets:
            if isinstance(message.data, (list, dict)):
                # Each has a copy of its own: whoever has it may change it.
                message = evolve(message, data=decode(message.payload))
            subscription.offer(message, action.author, action.epoch)

    def _route(self, topic: str) -> tuple[Subscription, ...]:
        """Who wants `topic`; the message is counted."""
        count = self._counts.get(topic)
        if count is not None or len(self._counts) < MAX_TOPICS:
            self._counts[topic] = (count or 0) + 1
        targets = self._routes.get(topic)
        if targets is None:
            if len(self._routes) >= MAX_TOPICS:
                self._routes.clear()
            targets = tuple(each for each in self._subscriptions if each.wants(topic))
            self._routes[topic] = targets
        return targets

    def _direct(self) -> tuple[Subscription, ...]:
        return tuple(each for each in self._subscriptions if each.direct)

    def topics(self) -> list[Topic]:
        """The topics heard of, and those subscribed to, by name."""
        patterns = {each.pattern for each in self._subscriptions if not each.direct}
        return [
            Topic(
                topic=topic,
                subscribers=sum(
                    each.wants(topic) or (not each.direct and each.pattern == topic)
                    for each in self._subscriptions
                ),
                messages_total=self._counts.get(topic, 0),
            )
            for topic in sorted(self._counts.keys() | patterns)
        ]

    # ---------------------------------------------------------------------------------------------- the archive

    def history(self, pattern: str, limit: int) -> Deferred[list[Message]]:
        """See `Node.history`."""
        check_topic(pattern)
        if not 0 <= limit <= MAX_HISTORY:
            raise ValueError(f"limit is 0 to {MAX_HISTORY}, not {limit}")
        if self._store is None:
            return fail(NotRunning("the node is not running"))
        self._step(Tick())  # as in `flush`
        wants = Subscription(pattern, _nothing, self).wants
        return self._store.history(pattern, limit).addCallback(self._newest, wants, limit)

    def _newest(self, found: list[EnvelopeKept], wants: Callable[[str], bool], limit: int) -> list[Message]:
        """The last `limit` messages; what comes before them is not even decoded."""
        # By creation and not by arrival: what anti-entropy brought came in no order that anybody meant.
        found.sort(key=lambda kept: (kept.created_ms, kept.author, kept.epoch, kept.seq))
        newest: list[list[Message]] = []
        missing = limit
        for kept in reversed(found):
            if missing <= 0:
                break
            newest.append(list(reading.messages_of(kept, self._sealer, wants)))
            missing -= len(newest[-1])
        messages = [message for several in reversed(newest) for message in several]
        return messages[max(0, -missing) :]

    def describe(self, author: bytes, epoch: int, seq: int) -> Deferred[dict[str, Any] | None]:
        """See `Node.message`."""
        if self._store is None:
            return fail(NotRunning("the node is not running"))
        asked = self._store.envelope_of(author, epoch, seq)
        return asked.addCallback(self._described, seq)

    def _described(self, kept: EnvelopeKept | None, seq: int) -> dict[str, Any] | None:
        return None if kept is None else reading.describe(kept, self._sealer, seq)

    def _replay(self, subscription: Subscription) -> None:
        asked = self.history(subscription.pattern, subscription.history)
        asked.addErrback(self._no_history, subscription)
        asked.addCallback(subscription.replay)

    def _no_history(self, failure: Failure, subscription: Subscription) -> Iterator[Message]:
        failure.trap(StoreError)
        self._log.warn("No history for {topic!r}: {error}", topic=subscription.pattern, error=failure.value)
        return iter(())

    def read(self, subscription: Subscription, span: Span) -> Deferred[tuple[list[Message], int]]:
        """See `positron.services.subscriptions.Archive`. Direct messages are sealed in the store: gone."""
        everything = span.last - span.first + 1
        if self._store is None or subscription.direct:
            return succeed(([], everything))
        asked = self._store.envelope_of(span.author, span.epoch, span.first)
        asked.addErrback(_not_held)
        return asked.addCallback(self._part, subscription, span)

    def _part(
        self, kept: EnvelopeKept | None, subscription: Subscription, span: Span
    ) -> tuple[list[Message], int]:
        if kept is None:
            return [], 1
        last = min(span.last, kept.seq + kept.count - 1)
        messages = reading.messages_of(
            kept, self._sealer, subscription.wants, first=span.first, last=last, late=span.late
        )
        return list(messages), last - span.first + 1

    def lagged(self, subscription: Subscription, skipped: int) -> None:
        """See `positron.services.subscriptions.Archive`."""
        self._tell(Lagged(topic=subscription.pattern, skipped=skipped))

    def failed(self, subscription: Subscription, failure: Failure) -> None:
        """See `positron.services.subscriptions.Archive`."""
        self.errors_total += 1
        if subscription.errors == 1:
            self._log.failure("A subscriber of {topic!r} raised", failure, topic=subscription.pattern)

    def cancelled(self, subscription: Subscription) -> None:
        """See `positron.services.subscriptions.Archive`."""
        self._subscriptions.remove(subscription)
        self._routes.clear()


def _not_held(failure: Failure) -> None:
    failure.trap(StoreError)


def _nothing(_: Message) -> None:
    """A subscriber who is never called."""
