"""What goes into the core, and what comes out of it.

- **Events** are what happened in the world: `Swarm.handle(event, now)` takes one at a time.
- **Actions** are what the shell must do, in the order given. What the application is told (`notices`) travels inside
  the action `Emit`.

A link is named by a number that the shell drew and never uses again. Addresses are `host:port` or `[v6]:port`.
Wall clock times are Unix seconds, or whole milliseconds where the name ends in `_ms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from attrs import define

from positron.core.envelope import Entry
from positron.core.notices import Notice
from positron.core.records import Record
from positron.errors import PositronError

# ---------------------------------------------------------------------------------------------------- events


@define
class Connected:
    """A channel stands: TLS is done, the other side proved that it holds `node_id`'s key. Nothing was said yet.

    `binding` is the TLS exporter's value, equal on both sides and unique to this channel.
    """

    link: int
    node_id: bytes
    outbound: bool
    address: str
    binding: bytes


@define
class Disconnected:
    """The channel of `link` is gone; said exactly once for each `Connected`.

    `garbled`: because what the peer sent was no frame, which is a violation.
    """

    link: int
    reason: str
    garbled: bool = False


@define
class DialFailed:
    """A `Dial` came to nothing: no `Connected` will follow for it."""

    address: str
    reason: str


@define
class Received:
    """Frames (tag and body) of one link, in order, as they were in one chunk."""

    link: int
    frames: list[bytes]


@define
class Congested:
    """Over 256 KiB wait in the send queue of `link`: announce to it instead of pushing, until `Drained`."""

    link: int
    queued: int


@define
class Drained:
    """The send queue of `link` is below its low-water mark again. `queued` bytes are still in it."""

    link: int
    queued: int


@define
class Publish:
    """The application publishes these; they are consecutive in the author's sequence. Answered by `Settle(token)`."""

    token: int
    entries: list[Entry]


@define
class SendDirect:
    """The application sends `payload` to one node. Answered by `Settle(token)` when acknowledged or timed out."""

    token: int
    recipient: bytes
    payload: bytes
    timeout: float


@define
class Fetched:
    """The answer to `Fetch`: those of its ids that the store holds, by id."""

    link: int
    found: dict[bytes, bytes]


@define
class Stored:
    """Everything handed over by `Remember` up to and including the one that carried `mark` is on disk."""

    mark: int


@define
class StoreHealth:
    """Whether the store takes envelopes at present (False: relaying goes on, keeping does not)."""

    storing: bool


@define
class WallClock:
    """The wall clock is `offset` seconds ahead of `now`. Said at start and whenever it moves by over 50 ms."""

    offset: float


@define
class LoopLate:
    """The shell's own loop was late by `seconds`: silence of peers in that time says nothing about them."""

    seconds: float


@define
class AddPeer:
    """The operator names an address to dial, once, whatever the slots."""

    address: str


@define
class DropPeer:
    """The operator ends the link to this node."""

    node_id: bytes


@define
class BanPeer:
    """The operator bans this node for `seconds`; 0 lifts a ban."""

    node_id: bytes
    seconds: float


@define
class ForgetPeer:
    """The operator removes what is known of this node: addresses, trust, bans."""

    node_id: bytes


@define
class SetTrust:
    """The operator sets the first-hand score of this node, 0 to 1."""

    node_id: bytes
    score: float


@define
class PingPeer:
    """The operator measures the round trip to this node. Answered by `Settle(token)` with seconds."""

    token: int
    node_id: bytes


@define
class Leave:
    """This node leaves on purpose: say goodbye on every link and dial no more."""


@define
class Tick:
    """Nothing happened but time."""


Event: TypeAlias = (
    Connected
    | Disconnected
    | DialFailed
    | Received
    | Congested
    | Drained
    | Publish
    | SendDirect
    | Fetched
    | Stored
    | StoreHealth
    | WallClock
    | LoopLate
    | AddPeer
    | DropPeer
    | BanPeer
    | ForgetPeer
    | SetTrust
    | PingPeer
    | Leave
    | Tick
)

# --------------------------------------------------------------------------------------------------- actions

CONTROL, ANNOUNCEMENT, PAYLOAD = range(3)


@define
class Send:
    """Send this frame (tag and body) on this link.

    `droppable` says what may be given up when the link's queue is full: `CONTROL` nothing, `ANNOUNCEMENT` the frame,
    first of all, `PAYLOAD` the frame, after all announcements.
    """

    link: int
    frame: bytes
    droppable: int = 0


@define
class Established:
    """Both WELCOMEs are through: the handshake timer of this link may rest."""

    link: int


@define
class Dial:
    """Open a channel to `address`; `expected` is the node id it must prove, None if any will do."""

    address: str
    expected: bytes | None = None


@define
class Hangup:
    """End the channel: send what is queued, then close; `abort` closes at once."""

    link: int
    reason: str
    abort: bool = False


@define
class Pause:
    """Read no more from this link until `Resume`."""

    link: int


@define
class Resume:
    """Read from this link again."""

    link: int


@define
class Deliver:
    """Hand these messages to the application, in order: `entries[i]` has sequence number `seq + i`.

    `late`: a `Gap` over them was already announced. `history`: only subscriptions that asked for history are owed
    them. `direct`: one payload sealed to this node, topic "".
    """

    author: bytes
    epoch: int
    seq: int
    created_ms: int
    received: float
    hops: int
    entries: Sequence[Entry]
    late: bool = False
    history: bool = False
    direct: bool = False


@define
class Fetch:
    """Read these envelopes from the store; the answer is `Fetched(link)`."""

    link: int
    ids: list[bytes]


@define
class Remember:
    """Write this to the store, behind, in order. A `mark` above 0 asks for `Stored(mark)` once it is on disk."""

    record: Record
    mark: int = 0


@define
class Settle:
    """The end of what the application asked under `token`: a result, or the error to raise."""

    token: int
    result: object = None
    error: PositronError | None = None


@define
class Published:
    """The result of a `Publish`: sequence numbers `seq ..` of `epoch`, handed to `peers` links."""

    epoch: int
    seq: int
    peers: int


@define
class Sealed:
    """An own bundle was sealed: messages `seq .. seq + count - 1` of `epoch` are the envelope `id` from now on.

    `mark` is that of the `Remember` that follows, so `Stored(mark)` means that they are on disk.
    """

    id: bytes
    epoch: int
    seq: int
    count: int
    mark: int


@define
class Emit:
    """Tell the application."""

    notice: Notice


Action: TypeAlias = (
    Send | Established | Dial | Hangup | Pause | Resume | Deliver | Fetch | Remember | Settle | Sealed | Emit
)
