"""Which (author, epoch, sequence) was seen, and delivery in each author's order.

Rule: a sequence number is accepted once, ever. What was seen is kept as intervals per epoch, persisted, and outlives
the envelopes themselves; whatever it would forget is refused as `old` instead.

Order, as promised to the application: per author in sequence order; what arrives early is held back at most 2 s and
within a budget, then a `Gap` is told and delivery goes on; what fills the gap later is delivered with `late=True` and
told as `Recovered`.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import Factory, define, field

from positron.core.context import Context
from positron.core.envelope import BROADCAST, Entry, Envelope, Undecoded
from positron.core.events import Deliver
from positron.core.identity import to_text
from positron.core.intervals import insert, overlaps
from positron.core.limits import Bucket
from positron.core.notices import Gap, Recovered
from positron.core.records import Intervals, SequencesDropped, SequencesKept
from positron.core.timetable import Timetable

MAX_INTERVALS = 512
"""Of an epoch. What lies between the oldest two counts as seen when there are more, and is lost if it was not: in a
flood over several links, or after a cut, dozens of envelopes are on their way while later ones are here."""

MAX_INTERVALS_ALL = 262_144
"""Of all authors together, 35 MiB. An author that leaves out every other number could else have us remember more of
each envelope than it has bytes, for as long as we run."""

FEW = 16
"""Intervals that are left to the one who had most."""

CHECK_EVERY = 65_536
"""Envelopes accepted between two looks at that: the intervals of all cannot grow faster."""

MAX_EPOCHS = 256
EPOCHS_FORGOTTEN = 64
"""Of a sequence that has more, at once: all that are left are written anew each time."""

MAX_AUTHORS = 10_000
AUTHORS_FORGOTTEN = 64
"""When there are more, at most, at once: it takes a look at all of them."""
HOLD_SECONDS = 2.0

Stream = tuple[bytes, int, bytes]
"""(author, kind, recipient): a sequence belongs to these three."""


@define
class _Held:
    envelope: Envelope
    hops: int
    since: float


@define
class _Epoch:
    """One epoch of one stream. `next` is the next number to deliver, 0 while all we have is history.

    `history_end` is the highest number delivered as history; the first live one may come after it and lie below.
    """

    seen: Intervals = field(default=Factory(list))
    next: int = 0
    first_live: int = 0
    history_end: int = 0
    held: dict[int, _Held] = field(default=Factory(dict))


@define
class _Author:
    """One stream: its epochs, oldest first, the newest creation time accepted, and who introduced it when."""

    epochs: dict[int, _Epoch] = field(default=Factory(dict))
    floor_epoch: int = 0
    touched_ms: int = 0
    introduced_by: bytes = b""
    introduced_at: float = 0.0
    held_bytes: int = 0
    held_count: int = 0


class Sequences:
    """The seen sequences of every author, and the hold-back queue of those that came early."""

    def __init__(self, context: Context, *, first_start_ms: int) -> None:
        """`first_start_ms`: when this node first started; epochs that began later are owed from number 1."""
        self._context = context
        self._first_start_ms = first_start_ms
        self._streams: dict[Stream, _Author] = {}
        self._dirty: dict[tuple[Stream, int], tuple[_Author, _Epoch]] = {}
        self._waiting: Timetable[tuple[Stream, int]] = Timetable()
        self._held_bytes = 0
        self._limits = context.parameters.limits
        self._introductions: dict[bytes, Bucket] = {}
        self._unchecked = 0
        self.deadline = float("inf")
        """When the oldest held envelope has waited long enough; it may be early, never late."""

    def load(self, kept: list[SequencesKept], dropped: list[SequencesDropped]) -> None:
        """Take over what the store held. What is missing below the newest number counts as announced gaps.

        A store holds more than a core: floors alone are left out first, then what was touched longest ago.
        """
        for record in kept:
            stream = (record.author, record.kind, record.recipient)
            author = self._streams.setdefault(stream, _Author())
            seen = sorted((low, high) for low, high in record.seen)
            live = record.first_live or record.epoch >= self._first_start_ms
            author.epochs[record.epoch] = _Epoch(
                seen, seen[-1][1] + 1 if seen and live else 0, record.first_live
            )
            author.touched_ms = max(author.touched_ms, record.touched_ms)
        for floor in dropped:
            stream = (floor.author, floor.kind, floor.recipient)
            author = self._streams.setdefault(stream, _Author())
            author.floor_epoch = max(author.floor_epoch, floor.floor_epoch)
            author.touched_ms = max(author.touched_ms, self._context.wall_ms)
        worth = {stream: (bool(each.epochs), each.touched_ms) for stream, each in self._streams.items()}
        for stream in sorted(worth, key=lambda each: worth[each])[:-MAX_AUTHORS]:
            del self._streams[stream]

    def __len__(self) -> int:
        return len(self._streams)

    def tracks(self, author: bytes) -> bool:
        """Whether any broadcast of this author was ever accepted here."""
        return (author, BROADCAST, b"") in self._streams

    @property
    def gaps_open(self) -> int:
        """Streams that are waiting for an earlier number at present."""
        return len(self._waiting)

    def judge(self, envelope: Envelope, introduced_by: bytes, exempt: bool = False) -> str | None:
        """Why this envelope's numbers cannot be accepted: `old`, `replay`, `budget`; None if they are new.

        `introduced_by` is the node id of the link it came on: a link may introduce only so many new authors, the rest
        is left to anti-entropy, which is `exempt`.
        """
        stream = (envelope.author, envelope.kind, envelope.recipient)
        author = self._streams.get(stream)
        if author is None:
            # A relay keeps no sequence of what is sealed to others, which has a budget of its own.
            known = exempt or envelope.kind != BROADCAST or self._may_introduce(introduced_by)
            return None if known else "budget"
        if envelope.epoch <= author.floor_epoch:
            return "old"
        epoch = author.epochs.get(envelope.epoch)
        if epoch is not None:
            return "replay" if overlaps(epoch.seen, envelope.seq, envelope.last_seq) else None
        if len(author.epochs) >= MAX_EPOCHS and envelope.epoch < min(author.epochs):
            return "old"  # it would be the first to be forgotten
        return None

    def accept(
        self, envelope: Envelope, entries: list[Entry], hops: int, introduced_by: bytes, *, live: bool
    ) -> None:
        """Mark a verified envelope seen and deliver what is now in order.

        `live`: it came by PUSH or HAVE, not by anti-entropy.
        """
        self._unchecked += 1
        if self._unchecked >= CHECK_EVERY:
            self._bound_all()
        stream = (envelope.author, envelope.kind, envelope.recipient)
        author = self._streams.get(stream)
        if author is None:
            author = self._introduce(stream, introduced_by)
        if envelope.created_ms > author.touched_ms:
            author.touched_ms = envelope.created_ms
        epoch = author.epochs.get(envelope.epoch)
        if epoch is None:
            epoch = author.epochs[envelope.epoch] = _Epoch()
            if envelope.epoch >= self._first_start_ms:
                epoch.next = 1
        insert(epoch.seen, envelope.seq, envelope.last_seq)
        if live and not epoch.first_live:
            epoch.first_live = envelope.seq
            epoch.next = epoch.next or envelope.seq
        if len(epoch.seen) > MAX_INTERVALS or len(author.epochs) > MAX_EPOCHS:
            self._bound(stream, author, epoch, envelope.epoch)
        self._dirty[stream, envelope.epoch] = author, epoch
        if envelope.kind != BROADCAST:
            return
        if envelope.seq == epoch.next:
            self._deliver(envelope, entries, hops)
            epoch.next = envelope.last_seq + 1
            if epoch.held or epoch.next <= epoch.history_end:
                self._release(stream, author, epoch, envelope.epoch)
        else:
            self._out_of_order(stream, author, epoch, envelope, entries, hops)

    def _out_of_order(
        self,
        stream: Stream,
        author: _Author,
        epoch: _Epoch,
        envelope: Envelope,
        entries: list[Entry],
        hops: int,
    ) -> None:
        owed_from = 1 if envelope.epoch >= self._first_start_ms else epoch.first_live
        if epoch.next == 0 or envelope.seq < owed_from:
            epoch.history_end = max(epoch.history_end, envelope.last_seq)
            self._deliver(envelope, entries, hops, history=True)
        elif envelope.seq < epoch.next:
            self._deliver(envelope, entries, hops, late=True)
            self._context.count("recovered", envelope.count)
            self._context.emit(
                Recovered(
                    author=to_text(envelope.author),
                    epoch=envelope.epoch,
                    first_seq=envelope.seq,
                    last_seq=envelope.last_seq,
                )
            )
        else:
            self._hold(stream, author, epoch, _Held(envelope, hops, self._context.now))

    def _hold(self, stream: Stream, author: _Author, epoch: _Epoch, held: _Held) -> None:
        size = len(held.envelope.raw)
        epoch.held[held.envelope.seq] = held
        author.held_count += 1
        author.held_bytes += size
        self._held_bytes += size
        if len(epoch.held) == 1:
            self._waiting.put((stream, held.envelope.epoch), held.since + HOLD_SECONDS)
            self.deadline = min(self.deadline, held.since + HOLD_SECONDS)
        if (
            author.held_count > self._limits.held_envelopes
            or author.held_bytes > self._limits.held_bytes
            or self._held_bytes > self._limits.held_bytes_all
        ):
            self._skip(stream, author, epoch, held.envelope.epoch)

    def _release(self, stream: Stream, author: _Author, epoch: _Epoch, number: int) -> None:
        """Deliver what was held and is now in order, stepping over what was delivered as history."""
        while True:
            held = epoch.held.pop(epoch.next, None)
            if held is not None:
                size = len(held.envelope.raw)
                author.held_count -= 1
                author.held_bytes -= size
                self._held_bytes -= size
                self._deliver(held.envelope, Undecoded(held.envelope), held.hops)
                epoch.next = held.envelope.last_seq + 1
            elif epoch.next <= epoch.history_end and overlaps(epoch.seen, epoch.next, epoch.next):
                end = next(last for _, last in epoch.seen if last >= epoch.next)
                epoch.next = min([end + 1, *epoch.held])
            else:
                break
        if epoch.held:
            oldest = next(iter(epoch.held.values())).since
            self._waiting.put((stream, number), oldest + HOLD_SECONDS)
        else:
            self._waiting.discard((stream, number))

    def _skip(self, stream: Stream, author: _Author, epoch: _Epoch, number: int) -> None:
        """Stop waiting for what is missing before the earliest held or the next history: tell the gap, go on."""
        starts = [low for low, _ in epoch.seen if epoch.next < low <= epoch.history_end]
        first = min([*epoch.held, *starts])
        self._context.count("gaps")
        self._context.emit(
            Gap(author=to_text(stream[0]), epoch=number, first_seq=epoch.next, last_seq=first - 1)
        )
        epoch.next = first
        self._release(stream, author, epoch, number)

    def _deliver(
        self,
        envelope: Envelope,
        entries: Sequence[Entry],
        hops: int,
        *,
        late: bool = False,
        history: bool = False,
    ) -> None:
        self._context.count("delivered", 0 if history else len(entries))
        author, epoch, wall = envelope.author, envelope.epoch, self._context.wall
        self._context.actions.append(
            Deliver(author, epoch, envelope.seq, envelope.created_ms, wall, hops, entries, late, history)
        )

    def tick(self) -> None:
        """Give up on gaps whose time is over."""
        self._give_up(self._context.now)

    def leave(self) -> None:
        """This node leaves: deliver all that is held back, for what was seen is not taken again after a restart."""
        while self._waiting:
            self._give_up(float("inf"))

    def _give_up(self, until: float) -> None:
        for stream, number in self._waiting.take(until):
            author = self._streams[stream]
            self._skip(stream, author, author.epochs[number], number)
        self.deadline = self._waiting.deadline

    def flush(self) -> None:
        """Hand the changed intervals to the store; the swarm calls it once at the end of each event."""
        if not self._dirty:
            return
        for (stream, number), (author, epoch) in self._dirty.items():
            self._context.remember(
                SequencesKept(*stream, number, list(epoch.seen), epoch.first_live, author.touched_ms)
            )
        self._dirty.clear()

    # ------------------------------------------------------------------------------------------------ bounds

    def _bound(self, stream: Stream, author: _Author, epoch: _Epoch, number: int) -> None:
        """Keep 512 intervals an epoch and 256 epochs a stream; what is forgotten is refused from then on."""
        while len(epoch.seen) > MAX_INTERVALS:
            (first, _), (_, last) = epoch.seen[0], epoch.seen[1]
            epoch.seen[:2] = [(first, last)]
        if len(author.epochs) > MAX_EPOCHS:
            floor = sorted(author.epochs)[EPOCHS_FORGOTTEN - 1]
            self._forget_epochs(stream, author, min(floor, number - 1))

    def _bound_all(self) -> None:
        """Keep `MAX_INTERVALS_ALL` intervals of all: whoever has most is left its newest epoch, and few of those."""
        self._unchecked = 0
        sizes = {
            stream: sum(len(epoch.seen) for epoch in author.epochs.values())
            for stream, author in self._streams.items()
        }
        over = sum(sizes.values()) - MAX_INTERVALS_ALL
        for stream in sorted(sizes, key=lambda each: -sizes[each]):
            if over <= 0 or not sizes[stream]:
                return
            author = self._streams[stream]
            newest, epoch = max(author.epochs.items())
            if len(author.epochs) > 1:
                self._forget_epochs(stream, author, newest - 1)
            if len(epoch.seen) > FEW:
                epoch.seen[: 1 - FEW] = [(epoch.seen[0][0], epoch.seen[-FEW][1])]
            self._dirty[stream, newest] = author, epoch
            over -= sizes[stream] - len(epoch.seen)

    def _forget_epochs(self, stream: Stream, author: _Author, floor: int) -> None:
        author.floor_epoch = max(author.floor_epoch, floor)
        for number in [key for key in author.epochs if key <= floor]:
            for held in author.epochs.pop(number).held.values():
                author.held_count -= 1
                author.held_bytes -= len(held.envelope.raw)
                self._held_bytes -= len(held.envelope.raw)
            self._waiting.discard((stream, number))
            self._dirty.pop((stream, number), None)
        self._context.remember(SequencesDropped(*stream, author.floor_epoch))
        for number, epoch in author.epochs.items():
            self._dirty[stream, number] = author, epoch

    def _may_introduce(self, node_id: bytes) -> bool:
        bucket = self._introductions.get(node_id)
        if bucket is None:
            bucket = self._introductions[node_id] = self._limits.new_authors.bucket()
        return bucket.take(1, self._context.now)

    def link_down(self) -> None:
        """Forget the budgets that are full again; a reconnect must not refill one."""
        now = self._context.now
        for node_id, bucket in list(self._introductions.items()):
            if bucket.level(now) >= bucket.burst:
                del self._introductions[node_id]

    def _introduce(self, stream: Stream, node_id: bytes) -> _Author:
        if len(self._streams) >= MAX_AUTHORS:
            self._make_room()
        author = self._streams[stream] = _Author(introduced_by=node_id, introduced_at=self._context.now)
        return author

    def _make_room(self) -> None:
        """First whoever said nothing within retention; else the youngest of the link that brought most."""
        edge = self._context.wall_ms - int(self._context.parameters.retention * 1000) - 60_000
        stale = [stream for stream, author in self._streams.items() if author.touched_ms < edge]
        if stale:
            for stream in stale:
                self._drop(stream)
            return
        brought: dict[bytes, list[Stream]] = {}
        for stream, author in self._streams.items():
            brought.setdefault(author.introduced_by, []).append(stream)
        most = max(brought.values(), key=len)
        most.sort(key=lambda stream: -self._streams[stream].introduced_at)
        for stream in most[: min(AUTHORS_FORGOTTEN, len(most) // 2 + 1)]:
            self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        author = self._streams.pop(stream)
        if author.epochs:
            self._forget_epochs(stream, author, max(author.epochs))
