"""Sealing what the application publishes: one signature for everything published closely together.

Everything published in one turn of the shell becomes one envelope: a bundle is sealed at the next `tick`, which the
shell gives at once. When more than two envelopes were sealed in the last 5 ms, sealing waits up to 2 ms, so that a
loop of awaited publishes bundles too; a lone message goes at once. In a flood (eight or more messages come in
that time, and more follow) it waits up to 10 ms, or until an envelope is full: what every node on the way does for
each envelope is then shared by hundreds of messages instead of a dozen. The node holds its own envelopes to 80 % of
what receivers allow an author: above that, bundles grow first, and then `publish` waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from positron.core.context import Context
from positron.core.envelope import (
    BROADCAST,
    MAX_BODY,
    MAX_BUNDLE,
    MAX_LIFETIME_MS,
    Entry,
    Envelope,
    encode_entries,
    entry_size,
)
from positron.core.events import Published, Sealed, Settle

LATELY = 0.005
FEW = 2
WAIT = 0.002
MANY = 8
FLOOD_WAIT = 0.010
"""Seconds that sealing waits while more messages follow, within `WAIT`, on an envelope of `MANY`: 4,000 a second. It is
over at half as many."""
MAX_OUTBOX = 4096
MAX_OUTBOX_BYTES = 1024 * 1024
"""Messages and their bytes accepted and not yet sealed; beyond either `publish` waits."""

TURN_BYTES = 128 * 1024
"""Bytes of messages sealed in one turn: half of what a link's queue takes before it is said to be full. Were all of the
outbox sealed at once, most of it would be announced and asked for, since nobody had time to say so."""

BODY_SLACK = 8
"""Bytes of a body that are no entry: the outer array's header."""


class Publisher:
    """The author's side of a broadcast. The owner calls `tick` at `deadline`."""

    def __init__(
        self,
        context: Context,
        originate: Callable[[Envelope, list[Entry], int], None],
        *,
        held: Callable[[], bool] = lambda: False,
    ) -> None:
        """`originate` spreads a sealed envelope and hands it to the store under a mark. While `held` says so nothing
        is sealed; `reschedule` is to be called when that may have changed."""
        self._context = context
        self._held = held
        self._originate = originate
        self._next_seq = 1
        self._first_unsealed = 1
        self._outbox: deque[Entry] = deque()
        self._outbox_bytes = 0
        self._waiting: deque[tuple[int, list[Entry]]] = deque()
        self._sealed_at: deque[float] = deque(maxlen=FEW + 1)
        self._sealed_last = 0
        self._patience = 0.0
        self._budget = context.parameters.limits.author.paced()
        self.deadline = float("inf")
        """When the next bundle is to be sealed."""

    def publish(self, token: int, entries: list[Entry]) -> None:
        """Accept these messages, or keep them waiting while the outbox is full. Settles `token` on acceptance."""
        if self._waiting or self._is_full():
            self._waiting.append((token, entries))
        else:
            self._take(token, entries)

    def accept(self, entry: Entry) -> int:
        """Accept this message if it need not wait: its sequence number, else 0."""
        if self._waiting or self._is_full():
            return 0
        return self._put(entry)

    def _take(self, token: int, entries: list[Entry]) -> None:
        context = self._context
        first = self._next_seq
        for entry in entries:
            self._put(entry)
        context.actions.append(Settle(token, Published(context.epoch, first, len(context.links))))

    def _put(self, entry: Entry) -> int:
        seq = self._next_seq
        self._next_seq = seq + 1
        self._outbox.append(entry)
        self._outbox_bytes += entry_size(*entry)
        self._context.count("published")
        if self.deadline == float("inf") or (self.deadline > self._context.now and self._is_enough()):
            # Else an earlier one has set the time, and this one comes along.
            self.reschedule()
        return seq

    def _is_full(self) -> bool:
        return len(self._outbox) >= MAX_OUTBOX or self._outbox_bytes >= MAX_OUTBOX_BYTES

    def reschedule(self) -> None:
        """Decide anew when to seal."""
        if not self._outbox or self._held():
            self.deadline = float("inf")
            return
        now = self._context.now
        if self.deadline == float("inf"):
            self._patience = self._patience_now()
        due = now if self._is_enough() else now + self._patience
        due = max(due, now + self._budget.wait(now, 1))
        self.deadline = min(self.deadline, due) if self.deadline > now else due

    def _is_enough(self) -> bool:
        """Whether what waits fills an envelope."""
        return len(self._outbox) >= MAX_BUNDLE or self._outbox_bytes >= MAX_BODY - BODY_SLACK

    def _patience_now(self) -> float:
        """Seconds until what comes now is to be sealed: one of 0, `WAIT`, `FLOOD_WAIT`."""
        now = self._context.now
        sealed = self._sealed_at
        if self._patience and now - sealed[-1] < WAIT:
            if self._sealed_last >= MANY * max(1.0, (sealed[-1] - sealed[-2]) / (2 * WAIT)):
                return FLOOD_WAIT
        return WAIT if len(sealed) > FEW and now - sealed[0] < LATELY else 0.0

    def tick(self) -> None:
        """Seal what is due."""
        now = self._context.now
        if now < self.deadline:
            return
        self.deadline = float("inf")
        enough = self._outbox_bytes - TURN_BYTES
        while self._outbox and self._outbox_bytes > enough and self._budget.take(1, now):
            self._seal(self._next_bundle())
            if self._patience and not self._is_enough():
                break  # What a full envelope left waits for company of its own.
        while self._waiting and not self._is_full():
            self._take(*self._waiting.popleft())
        self.reschedule()

    def flush(self) -> None:
        """Accept and seal everything now, what waits too, whatever the budget: this node leaves."""
        while self._waiting:
            self._take(*self._waiting.popleft())
        while self._outbox:
            self._seal(self._next_bundle())

    def _next_bundle(self) -> list[Entry]:
        if len(self._outbox) <= MAX_BUNDLE and self._outbox_bytes + BODY_SLACK <= MAX_BODY:
            everything = list(self._outbox)
            self._outbox.clear()
            self._outbox_bytes = 0
            return everything
        bundle: list[Entry] = []
        size = BODY_SLACK
        while self._outbox and len(bundle) < MAX_BUNDLE:
            entry = entry_size(*self._outbox[0])
            if size + entry > MAX_BODY and bundle:
                break
            size += entry
            self._outbox_bytes -= entry
            bundle.append(self._outbox.popleft())
        return bundle

    def _seal(self, bundle: list[Entry]) -> None:
        context = self._context
        created_ms = context.wall_ms
        lifetime = min(int(context.parameters.retention * 1000), MAX_LIFETIME_MS)
        envelope = context.sealer.seal(
            context.me,
            BROADCAST,
            epoch=context.epoch,
            seq=self._first_unsealed,
            count=len(bundle),
            created_ms=created_ms,
            expires_ms=created_ms + lifetime,
            ttl=context.parameters.ttl,
            body=encode_entries(bundle),
        )
        self._first_unsealed += len(bundle)
        self._sealed_at.append(context.now)
        self._sealed_last = len(bundle)
        mark = context.next_mark()
        context.actions.append(Sealed(envelope.id, context.epoch, envelope.seq, envelope.count, mark))
        self._originate(envelope, bundle, mark)
