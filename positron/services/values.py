"""What an application holds in its hands: messages, receipts, and views of peers, topics and trust.

Rule: frozen, keyword-only, and without a way back into the node. Node ids are text (52 characters), times Unix
seconds, and a message's id is `AUTHOR.EPOCH.SEQ`.
"""

from __future__ import annotations

from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred

from positron.core.identity import from_text
from positron.services.receipts import Receipts

MAX_NUMBER = (1 << 63) - 1
"""The highest epoch and sequence number, in envelopes and in the store."""


# Not slots, for the sake of `message_of`.
@frozen(kw_only=True, slots=False)
class Message:
    """One message as delivered. `data` is the value, `payload` its bytes as they travelled.

    `created` is by the author's clock, `received` by ours. `hops` is 0 for a message of this node. `late` says that a
    `Gap` over it was announced before. A direct message has topic "".
    """

    topic: str
    data: Any
    payload: bytes
    author: str
    id: str
    seq: int
    created: float
    hops: int
    received: float
    late: bool = False


# Without slots: one is made for each message published, and a frozen class fills a dict twice as fast.
@frozen(kw_only=True, slots=False)
class Receipt:
    """What `publish` accepted: the message's id and sequence number, and how many links it was handed to."""

    id: str
    seq: int
    peers: int
    _receipts: Receipts = field(repr=False, eq=False)

    @property
    def stored(self) -> Deferred[None]:
        """Fires when the message is on disk (kept, with a memory store). A fresh Deferred each time.

        Fails with `StoreError` if the store was not storing, with `NotRunning` if the node stopped before.
        """
        return self._receipts.expect(self.seq).wait()


@frozen(kw_only=True)
class Acknowledgement:
    """The recipient has a direct message and signed for it, `rtt_seconds` after it was sent."""

    id: str
    rtt_seconds: float


@frozen(kw_only=True)
class Peer:
    """One link. `address` as dialled, or where an inbound link came from; `state` is `up` or `suspect`.

    `trust` is 0 to 1, `rtt_seconds` None until measured. Totals are of this link.
    """

    node_id: str
    address: str
    direction: str
    state: str
    trust: float
    rtt_seconds: float | None
    messages_in_total: int
    messages_out_total: int
    bytes_in_total: int
    bytes_out_total: int
    connected_seconds: float


@frozen(kw_only=True)
class Topic:
    """A topic that was heard of or is subscribed to here. A pattern counts as the subscriber of each it matches."""

    topic: str
    subscribers: int
    messages_total: int


@frozen(kw_only=True)
class TrustView:
    """What this node thinks of another, with its parts.

    `trust` orders choices; `first_hand` decides, and bans; `opinion` is the median of others' first-hand scores; all
    three are 0 to 1. `uptime` is how many seconds it was linked since this node started, `valid` and `invalid` count
    what it sent, `responsiveness` is the round trip to it in seconds, None while not linked or measured.
    """

    node_id: str
    trust: float
    first_hand: float
    opinion: float
    uptime: float
    valid: int
    invalid: int
    responsiveness: float | None
    bans: int
    banned_until: float | None


@frozen(kw_only=True)
class Stats:
    """The counters of `status`, as dicts by name, and some more. `links_refused`, both ways, and
    `links_closed` are by reason; bytes are those of all links there have been.

    `counters` are the core's own, for whoever looks for the cause of something; their names are not promised.
    """

    peers: dict[str, int]
    messages: dict[str, int]
    rejected: dict[str, int]
    store: dict[str, int]
    clock_skew_seconds: float
    uptime_seconds: float
    subscriber_errors_total: int
    undecodable_total: int
    links_opened_total: int
    links_closed: dict[str, int]
    links_refused: dict[str, int]
    bytes_in_total: int
    bytes_out_total: int
    counters: dict[str, int]


def message_of(fields: dict[str, Any]) -> Message:
    """The message of these fields, which must be all of them; the dict is the message's own from then on.

    For whoever delivers thousands a second: calling the class with so many names costs twice as much.
    """
    message = _new(Message)
    _set(message, "__dict__", fields)
    return message


_new, _set = object.__new__, object.__setattr__


def message_id(author: str, epoch: int, seq: int) -> str:
    """The text form of a message's id."""
    return f"{epoch_prefix(author, epoch)}{seq}"


def epoch_prefix(author: str, epoch: int) -> str:
    """What the ids of all messages of an epoch begin with; the sequence number follows."""
    return f"{author}.{epoch}."


def parse_message_id(text: str) -> tuple[bytes, int, int]:
    """Author, epoch and sequence number. ValueError with a sentence for anything else."""
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts[1:]):
        raise ValueError("a message id is AUTHOR.EPOCH.SEQ")
    epoch, seq = int(parts[1]), int(parts[2])
    if max(epoch, seq) > MAX_NUMBER:
        raise ValueError(f"no message has a number above {MAX_NUMBER}")
    return from_text(parts[0]), epoch, seq
