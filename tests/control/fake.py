"""A node that does nothing but remember what it was asked, for tests of what stands in front of a node."""

from __future__ import annotations

import os
from itertools import count

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed

from positron.config import Config
from positron.core.notices import PeerUp
from positron.errors import UnknownPeer
from positron.services.notices import Notices
from positron.services.receipts import Receipts
from positron.services.values import (
    Acknowledgement,
    Message,
    Peer,
    Receipt,
    Stats,
    Topic,
    TrustView,
    parse_message_id,
)
from positron.store.copying import BackupError
from positron.store.topics import matches

ME = "mmmm" + "a" * 48
ALICE = "abcd" + "b" * 47 + "a"
ALINA = "abce" + "c" * 47 + "a"

STATUS = {
    "node_id": ME,
    "network": "lab",
    "version": "0.1.0",
    "ready": True,
    "uptime_seconds": 12.5,
    "clock_skew_seconds": 0.25,
    "listen": ["127.0.0.1:8888"],
    "peers": {"up": 2, "suspect": 0, "known": 3, "banned": 0, "inbound": 1, "outbound": 1},
    "messages": {
        "published_total": 1,
        "received_total": 20,
        "delivered_total": 21,
        "duplicate_total": 3,
        "rejected_total": 2,
        "relayed_total": 40,
        "recovered_total": 5,
        "gaps_total": 6,
    },
    "rejected": {"signature": 2},
    "store": {"messages": 7, "envelopes": 6, "bytes": 4096},
}


def peer(node_id: str, **changed: object) -> Peer:
    whole = Peer(
        node_id=node_id,
        address="10.0.0.1:8888",
        direction="out",
        state="up",
        trust=0.5,
        rtt_seconds=0.002,
        messages_in_total=3,
        messages_out_total=4,
        bytes_in_total=300,
        bytes_out_total=400,
        connected_seconds=60.0,
    )
    return evolve(whole, **changed)


def message(seq: int = 1, topic: str = "chat", data: object = "hello", **changed: object) -> Message:
    whole = Message(
        topic=topic,
        data=data,
        payload=b"\x01",
        author=ALICE,
        id=f"{ALICE}.7.{seq}",
        seq=seq,
        created=1000.0,
        hops=2,
        received=1000.5,
        late=False,
    )
    return evolve(whole, **changed)


class FakeSubscription:
    def __init__(self, node: FakeNode, pattern: str | None, got, history: int) -> None:
        self.node, self.pattern, self.got, self.history = node, pattern, got, history

    def cancel(self) -> None:
        if self in self.node.subscriptions:
            self.node.subscriptions.remove(self)


class FakeNode:
    """Answers at once. `calls` is what it was asked to change; `deliver` hands a message to the subscriptions."""

    node_id = ME
    address = "127.0.0.1:8888"
    listen = ["127.0.0.1:8888"]
    version = "0.1.0"
    ready = True

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.calls: list[tuple] = []
        self.subscriptions: list[FakeSubscription] = []
        self.notices = Notices()
        self.links = [peer(ALICE), peer(ALINA, direction="in", rtt_seconds=None)]
        self.sequence = count(1)
        self.send_result = succeed(Acknowledgement(id=f"{ME}.7.1", rtt_seconds=0.01))
        self.receipts = Receipts()
        self.kept: list[Message] = []
        self.on_leave = lambda: None

    def deliver(self, message: Message) -> list[object]:
        """What each subscription that gets `message` returns."""
        return [
            subscription.got(message)
            for subscription in list(self.subscriptions)
            if subscription.pattern is not None and matches(subscription.pattern, message.topic)
        ]

    def deliver_direct(self, message: Message) -> list[object]:
        return [s.got(message) for s in list(self.subscriptions) if s.pattern is None]

    def status(self):
        return {**STATUS, "ready": self.ready}

    def stats(self):
        return Stats(
            peers=STATUS["peers"],
            messages=STATUS["messages"],
            rejected=STATUS["rejected"],
            store=STATUS["store"],
            clock_skew_seconds=0.25,
            uptime_seconds=12.5,
            subscriber_errors_total=0,
            undecodable_total=0,
            links_opened_total=3,
            links_closed={"idle": 1},
            links_refused={"network": 2},
            bytes_in_total=1000,
            bytes_out_total=2000,
            counters={},
        )

    def peers(self):
        return self.links

    def known_peers(self):
        return [*self.links, peer("zzzz" + "d" * 48, state="down")]

    def topics(self):
        return [Topic(topic="chat", subscribers=1, messages_total=9)]

    def trust(self, node_id=None):
        views = [
            TrustView(
                node_id=link.node_id,
                trust=0.55,
                first_hand=0.5,
                opinion=0.6,
                uptime=60.0,
                valid=10,
                invalid=0,
                responsiveness=0.002,
                bans=0,
                banned_until=None,
            )
            for link in self.links
        ]
        if node_id is None:
            return views
        for view in views:
            if view.node_id == node_id:
                return view
        raise UnknownPeer("no such peer")

    def trust_history(self, node_id, limit=100):
        row = {"time": 900.0, "cause": "delivery", "count": 3, "delta": 0.003, "before": 0.5, "after": 0.503}
        return succeed([row][:limit])

    def message(self, message_id):
        parse_message_id(message_id)
        if message_id != f"{ALICE}.7.1":
            return succeed(None)
        found = {"author": ALICE, "topic": "chat", "epoch": 7, "seq": 1, "created": 1000.0}
        return succeed({**found, "received": 1000.5, "hops": 2, "late": False, "size": 6})

    def history(self, topic, limit):
        return succeed([message for message in self.kept if matches(topic, message.topic)][-limit:])

    def publish(self, topic, data, *, min_peers=0):
        if len(topic) > 128:
            raise ValueError("the topic is too long")
        self.calls.append(("publish", topic, data))
        seq = next(self.sequence)
        return succeed(Receipt(id=f"{ME}.7.{seq}", seq=seq, peers=2, receipts=self.receipts))

    def send(self, node_id, data, timeout=10):
        self.check_other(node_id)
        self.calls.append(("send", node_id, data, timeout))
        return self.send_result

    def subscribe(self, topic, got, *, history=0):
        if topic == "bad/#/pattern":
            raise ValueError("a # belongs at the end")
        self.subscriptions.append(FakeSubscription(self, topic, got, history))
        return self.subscriptions[-1]

    def on_direct(self, got):
        self.subscriptions.append(FakeSubscription(self, None, got, 0))
        return self.subscriptions[-1]

    def on_event(self, got):
        return self.notices.listen(got)

    def add_peer(self, address):
        if ":" not in address:
            raise ValueError(f"{address!r} is not an address")
        self.calls.append(("add_peer", address))

    def drop_peer(self, node_id):
        self.calls.append(("drop_peer", node_id))

    def ban_peer(self, node_id, seconds):
        self.check_other(node_id)
        self.calls.append(("ban_peer", node_id, seconds))

    def forget_peer(self, node_id):
        self.calls.append(("forget_peer", node_id))

    def check_other(self, node_id):
        if node_id == ME:
            raise ValueError("that is the id of this node itself")

    def set_trust(self, node_id, score):
        self.check_other(node_id)
        self.calls.append(("set_trust", node_id, score))

    def ping(self, node_id):
        self.calls.append(("ping", node_id))
        if node_id not in (ALICE, ALINA):
            return fail(UnknownPeer("no link to it"))
        return succeed(0.002)

    def reload(self):
        self.calls.append(("reload",))

    def backup(self, path):
        self.calls.append(("backup", path))
        if os.path.exists(path):
            return fail(BackupError(f"{path} is already there"))
        with open(path, "wb") as file:
            return succeed(file.write(b"copy"))

    def leave(self):
        self.calls.append(("leave",))
        self.on_leave()

    def emit(self, number: int = 1) -> None:
        """Tell the listeners that a peer came up."""
        self.notices.tell(PeerUp(node_id=ALICE, address=f"10.0.0.{number}:8888", direction="out"))


def never() -> Deferred:
    """A Deferred that nobody fires."""
    return Deferred()
