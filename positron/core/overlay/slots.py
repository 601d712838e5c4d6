"""Whom to dial, and when: the outbound slots, and everything else that opens links.

Rule: at most eight dials are under way at once (the operator's own aside), nobody is dialled who is linked, and no
address is chosen by how often it was told: stable slots draw a network group by chance, ranked slots keep the lowest
hash under a seed of their own (BASALT), so repeating an address a million times is worth as much as saying it once.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from positron.core.addresses import AddressBook, Entry
from positron.core.context import Context
from positron.core.events import Dial
from positron.core.links import CLOSING, Link
from positron.core.overlay.admission import Admission
from positron.core.overlay.attempts import (
    ANCHOR,
    BESIDE,
    BOOTSTRAP,
    FEELER,
    LOST,
    OPERATOR,
    PROBE,
    SLOT,
    Attempt,
    Slot,
)
from positron.core.overlay.bootstraps import FEW_SECONDS, Bootstraps
from positron.core.overlay.choice import Choice
from positron.core.overlay.feelers import Feelers
from positron.core.overlay.judge import Judge, is_banned
from positron.core.overlay.lost import LostPeers

MAX_DIALS = 8
RANKED_SLOTS = 4
RERANK_SECONDS = 60.0
RESEED_SECONDS = 3600.0
SETTLED_SECONDS = 600.0
"""How long a ranked slot keeps its node before it looks for another."""

TRIM_SECONDS = 60.0
LOOK_SOON, LOOK_LATER = 1.0, 5.0
LONGEST_RETRY = 600.0
REFUSED_SECONDS = {"full": 60.0, "duplicate": 5.0, "leaving": 60.0, "evicted": 60.0, "idle": 60.0}
OTHERWISE_SECONDS = 600.0
"""How long a node that refused us is left alone, at most; half of it is jitter."""


class Slots:
    """The dials under way and the outbound links that came of them."""

    def __init__(
        self,
        context: Context,
        book: AddressBook,
        trust: Judge,
        admission: Admission,
        *,
        own_addresses: Callable[[], tuple[str, ...]],
        end: Callable[[Link], None],
    ) -> None:
        self._context = context
        self._book = book
        self._trust = trust
        self._admission = admission
        self._end = end
        self._enabled = context.parameters.discovery
        self._running = False
        self.deadline = inf
        """When `tick` is wanted; it may be early, never late, but for what happened since: see `wake`."""
        self.bootstraps = Bootstraps(context)
        self.lost = LostPeers(context)
        self.dialling: dict[str, Attempt] = {}
        """The dials under way, by address."""
        self._attempts: dict[int, Attempt] = {}
        self._busy: set[bytes] = set()
        self._choice = Choice(
            context, book, trust, lambda entry: self._is_dialled(entry) or entry.address in own_addresses()
        )
        self._feelers = Feelers(
            context, self._choice, self.bootstraps, dialling=self.dialling, dial=self._dial
        )
        self._rerank_at = self._trim_at = inf
        ranked = min(RANKED_SLOTS, admission.outbound_limit // 2)
        self._slots = [Slot() for _ in range(admission.outbound_limit - ranked)]
        self._slots += [Slot(self._draw_seed()) for _ in range(ranked)]

    # ----------------------------------------------------------------------------------------- what happened

    def start(self) -> None:
        """Dial the anchors, and be ready for the rest."""
        self._running = True
        now = self._context.now
        self._feelers.start()
        self._rerank_at = now + RERANK_SECONDS
        for slot in self._slots:
            if slot.seed:
                slot.reseed_at = now + RESEED_SECONDS * (0.5 + self._context.rng.random())
        if self._enabled:
            for node_id, address in self._book.anchors:
                self._dial(Attempt(address, ANCHOR, node_id))

    def stop(self) -> None:
        """Dial no more."""
        self._running = False

    def add(self, address: str, node_id: bytes | None) -> None:
        """The operator wants a link to this address, whatever the slots."""
        if address not in self.dialling:
            self._dial(Attempt(address, OPERATOR, node_id))

    def reach(self, entry: Entry) -> bool:
        """Dial this node now, whatever the slots, if the budgets allow; whether a dial goes out."""
        self._find_busy()
        if not self._running or not self._is_free() or not self._choice.may_dial(entry, True):
            return False
        self._dial(Attempt(entry.address, LOST, entry.node_id))
        return True

    def probe(self) -> bool:
        """Dial a stranger beside the slots, if the budgets allow; whether a dial goes out."""
        self._find_busy()
        full = len(self._context.links) >= self._context.parameters.max_peers
        if not self._running or not self._enabled or full or not self._is_free():
            return False
        entry = self._choice.draw(b"", self._taken_groups(), False)
        if entry is not None:
            self._dial(Attempt(entry.address, PROBE, entry.node_id))
        return entry is not None

    def connected(self, link: Link) -> None:
        """A channel stands."""
        if link.outbound:
            attempt = self.dialling.pop(link.address, None)
            attempt = attempt or Attempt(link.address, OPERATOR, link.node_id)
            self._attempts[link.number] = attempt
            link.probe = attempt.purpose == PROBE
            self.bootstraps.answered(link.address, link.node_id)

    def is_feeler(self, link: Link) -> bool:
        """Whether this link was only to show that somebody is there."""
        return self._purpose(link) == FEELER

    def _purpose(self, link: Link) -> str:
        """What this link was dialled for; nothing if the other side dialled."""
        attempt = self._attempts.get(link.number)
        return attempt.purpose if attempt is not None else ""

    def dial_failed(self, address: str) -> None:
        """A dial came to nothing."""
        attempt = self.dialling.pop(address, None)
        if attempt is not None:
            self._failed(attempt)

    def _failed(self, attempt: Attempt) -> None:
        self.bootstraps.failed(attempt.address)
        if attempt.node_id is not None:
            self.lost.failed(attempt.node_id)
            entry = self._book.get(attempt.node_id)
            failures = entry.kept.failures if entry is not None else 0
            longest = min(LONGEST_RETRY, 2.0 ** (failures + 1))
            self._book.failed(attempt.node_id, longest * self._context.rng.random())

    def refused(self, link: Link, reason: str) -> None:
        """A node that we dialled, or we ourselves, said no to this link: `reason` is the word of WELCOME."""
        attempt = self._attempts.pop(link.number, None)
        if attempt is None:
            return
        if reason != "duplicate" or link.node_id not in self._context.links.up:
            self.bootstraps.failed(link.address, reason)
        self._leave_alone(link.node_id, REFUSED_SECONDS.get(reason, OTHERWISE_SECONDS))

    def _leave_alone(self, node_id: bytes, seconds: float) -> None:
        self.lost.drop(node_id)
        self._book.failed(node_id, seconds * (0.5 + 0.5 * self._context.rng.random()), refused=True)

    def up(self, link: Link) -> None:
        """A link is up, whoever dialled."""
        self.bootstraps.linked(link.node_id)
        self.lost.drop(link.node_id)
        if not link.outbound:
            self._book.seen(link.node_id)
            return
        self._book.proven(link.node_id, link.address)
        if self._purpose(link) != PROBE:
            self._take_slot(link)
            self._keep_anchors()

    def _take_slot(self, link: Link) -> None:
        attempt = self._attempts.get(link.number)
        slot = None
        if attempt is not None and attempt.slot is not None:
            slot, attempt.slot = attempt.slot, None
            former = slot.link
            if former is not None and former is attempt.replaces:
                slot.link = None
                self._end(former)
        if slot is None or slot.link is not None:
            slot = next((slot for slot in self._slots if slot.link is None), None)
        if slot is not None:
            slot.link = link

    def tested(self, link: Link) -> None:
        """A feeler got its answer."""
        self._attempts.pop(link.number, None)
        self._book.proven(link.node_id, link.address)

    def closed(self, link: Link, *, was_up: bool, broken: bool, replaced: bool) -> None:
        """A link is down. `broken`: nobody wanted it to be; `replaced`: another to the same node takes over."""
        attempt = self._attempts.pop(link.number, None)
        for slot in self._slots:
            if slot.link is link:
                slot.link = None
        if replaced:
            return
        if not was_up:
            if attempt is not None:
                self._failed(attempt)
            return
        self.bootstraps.parted(link.node_id)
        if not broken:
            self._leave_alone(link.node_id, FEW_SECONDS)
            return
        self._book.seen(link.node_id)
        entry = self._book.get(link.node_id)
        address = link.address if link.outbound else entry.address if entry is not None else ""
        if address and (self._enabled or link.outbound):
            self.lost.add(link.node_id, address)

    def _keep_anchors(self) -> None:
        """The two oldest outbound links are the first to be dialled after a restart."""
        outbound = [link for link in self._context.links if link.outbound and not link.probe]
        self._book.keep_anchors([(link.node_id, link.address) for link in outbound])

    # ------------------------------------------------------------------------------------------------- facts

    @property
    def target(self) -> int:
        """How many links there should be at least: `min_peers`, or as many as nodes are known."""
        wanted = self._context.parameters.min_peers
        known = len(self._context.links) + len(self.bootstraps.unlinked())
        return wanted if known >= wanted else min(wanted, known + self._book.reachable(wanted - known))

    def _outbound(self) -> int:
        """Outbound links, up or on the way, those beside the slots not counted."""
        count = 0
        for link in self._context.links.all.values():
            if link.outbound and link.state != CLOSING and self._purpose(link) not in BESIDE:
                count += 1
        for attempt in self.dialling.values():
            if attempt.purpose not in BESIDE:
                count += 1
        return count

    def has_room(self) -> bool:
        """Whether another link may be dialled for a slot."""
        full = len(self._context.links) >= self._context.parameters.max_peers
        # A single slot stays empty only at the head of the line: there is no bootstrap whose link was lost.
        wanted = self._admission.outbound_wanted() or bool(self.bootstraps.unlinked())
        return not full and self._outbound() < wanted

    # ----------------------------------------------------------------------------------------------- dialling

    def wake(self) -> None:
        """Something changed that may be a reason to dial: `tick` is wanted now."""
        self.deadline = -inf

    def tick(self) -> None:
        """Dial whom it is time to dial."""
        self.deadline = inf
        if not self._running:
            return
        self._find_busy()
        few = len(self._context.links) < self.target
        due = min(self._call_bootstraps(few), self._call_lost())
        if self._enabled:
            due = min(due, self._fill(few), self._feelers.tick(self._is_free()), self._rerank(), self._trim())
        # A link that was ended meanwhile may want the next look at once.
        self.deadline = min(self.deadline, due)

    def _find_busy(self) -> None:
        """Who is linked, or is about to be, and so is not dialled."""
        self._busy.clear()
        self._busy.update(link.node_id for link in self._context.links.all.values() if link.state != CLOSING)
        self._busy.update(
            attempt.node_id for attempt in self.dialling.values() if attempt.node_id is not None
        )

    def _dial(self, attempt: Attempt) -> None:
        self.dialling[attempt.address] = attempt
        if attempt.node_id is not None:
            self._busy.add(attempt.node_id)
        self._book.note_dial(attempt.address)
        self._context.actions.append(Dial(attempt.address, attempt.node_id))

    def _is_dialled(self, entry: Entry) -> bool:
        return entry.node_id in self._busy or entry.address in self.dialling

    def _is_free(self) -> bool:
        return len(self.dialling) < MAX_DIALS

    def _call_bootstraps(self, few: bool) -> float:
        """All at start; later when links are too few or the list is all there is."""
        due = inf
        for item in self.bootstraps.unlinked():
            wanted = not item.dialled or not self._enabled or (few and self.has_room())
            if not wanted or item.address in self.dialling or item.node_id in self._busy:
                continue
            at = self.bootstraps.due(item)
            if at > self._context.now:
                due = min(due, at)
            elif self._is_free():
                item.dialled = True
                self._dial(Attempt(item.address, BOOTSTRAP, item.pinned))
        return due

    def _call_lost(self) -> float:
        if not self._is_free():
            return inf
        lost = self.lost.next(self._busy)
        if lost is not None and lost.address not in self.dialling:
            entry = self._book.get(lost.node_id)
            if is_banned(self._trust, lost.node_id, self._context.wall):
                self.lost.drop(lost.node_id)
            else:
                address = entry.address if entry is not None and lost.attempts > 1 else lost.address
                self._dial(Attempt(address, LOST, lost.node_id))
        return max(self.lost.due(self._busy), self._context.now + 0.05)

    def _fill(self, few: bool) -> float:
        """Give every free slot a node."""
        while self._is_free() and self.has_room():
            slot = next(
                (slot for slot in self._slots if slot.link is None and not self._is_awaited(slot)), None
            )
            entry = self._choice.draw(slot.seed if slot is not None else b"", self._taken_groups(), few)
            if entry is None:
                waits = any(entry.node_id not in self._busy for entry in self._book)
                return self._context.now + (LOOK_SOON if few else LOOK_LATER) if waits else inf
            self._dial(Attempt(entry.address, SLOT, entry.node_id, slot))
        return inf

    def _is_awaited(self, slot: Slot) -> bool:
        attempts = (*self.dialling.values(), *self._attempts.values())
        return any(attempt.slot is slot for attempt in attempts)

    # ------------------------------------------------------------------------------------- once in a while

    def _rerank(self) -> float:
        """Once a minute: one ranked slot looks whether somebody of lower rank is there; hourly it gets a new seed."""
        now = self._context.now
        if now < self._rerank_at:
            return self._rerank_at
        self._rerank_at = now + RERANK_SECONDS
        ranked = [slot for slot in self._slots if slot.seed and slot.link is not None]
        for slot in ranked:
            if now >= slot.reseed_at:
                slot.seed, slot.reseed_at = self._draw_seed(), now + RESEED_SECONDS
        if ranked and self._is_free() and not self.has_room():
            self._challenge(self._context.rng.choice(ranked))
        return self._rerank_at

    def _challenge(self, slot: Slot) -> None:
        """Dial the node that ranks below the slot's own, which it replaces once it is up."""
        if slot.link is None or self._is_awaited(slot):
            return
        if self._context.now < slot.link.up_since + SETTLED_SECONDS:
            return
        entry = self._choice.challenger(slot.seed, slot.link, self._taken_groups() - {slot.link.group})
        if entry is not None:
            self._dial(Attempt(entry.address, SLOT, entry.node_id, slot, slot.link))

    def _taken_groups(self) -> set[str]:
        groups = {link.group for link in self._context.links if link.outbound}
        for attempt in self.dialling.values():
            entry = self._book.get(attempt.node_id) if attempt.node_id is not None else None
            if entry is not None:
                groups.add(entry.group)
        return groups

    def _trim(self) -> float:
        """More outbound links than slots: one goes a minute, by chance, so that bridges between islands mix."""
        now = self._context.now
        up = [link for link in self._context.links if link.outbound and self._purpose(link) not in BESIDE]
        if len(up) <= self._admission.outbound_limit:
            self._trim_at = inf
        elif self._trim_at == inf:
            self._trim_at = now + TRIM_SECONDS
        elif now >= self._trim_at:
            self._trim_at = now + TRIM_SECONDS
            spare = [link for link in up if self._purpose(link) != OPERATOR]
            if spare:
                self._end(self._context.rng.choice(spare))
        return self._trim_at

    def _draw_seed(self) -> bytes:
        return self._context.rng.getrandbits(128).to_bytes(16, "big")
