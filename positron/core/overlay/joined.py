"""The overlay of one node: it joins the parts of this folder. See `positron.core.overlay`."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from positron.core import events
from positron.core.addresses import AddressBook, group_of, parse_bootstrap
from positron.core.context import Context
from positron.core.events import Established
from positron.core.identity import to_text
from positron.core.links import CLOSING, GREETING, UP, Link
from positron.core.messages import GOODBYES, REFUSALS, Goodbye, Hello, Peers, Pong, Welcome
from positron.core.notices import PeerDown, PeerUp
from positron.core.notices import Refused as RefusedNotice
from positron.core.overlay.admission import Admission
from positron.core.overlay.clocks import Clocks
from positron.core.overlay.discovery import Discovery
from positron.core.overlay.facts import Facts
from positron.core.overlay.greeting import Greeting, Outcome
from positron.core.overlay.judge import Judge
from positron.core.overlay.liveness import Liveness
from positron.core.overlay.quiet import Quiet
from positron.core.overlay.slots import Slots

DRAIN_SECONDS = 1.0
"""How long a duplicate link stays open after its GOODBYE, so that what is under way arrives."""

COUNTED = frozenset((*REFUSALS, *GOODBYES))
"""Why links are refused, each counted by itself: a peer may say any word that a later version could."""

RTT_WEIGHT = 0.2
SHORTEST_TICK = 0.001


class Overlay(Facts):
    """The links of one node. The owner hands in each event, then calls `tick` when `now` reaches `deadline`.

    `link_up(link)` and `link_down(link, reason)` are called as a link enters and leaves `context.links.up`; each
    exactly once for a link that was up, in turn. Methods that take a message raise `MessageError` for a breach of
    the protocol, which the owner turns into `violation`.
    """

    def __init__(
        self,
        context: Context,
        book: AddressBook,
        trust: Judge,
        *,
        link_up: Callable[[Link], None],
        link_down: Callable[[Link, str], None],
    ) -> None:
        self.deadline = inf
        """When `tick` is wanted (seconds of `now`); it may be past."""
        self._context = context
        self._book = book
        self._trust = trust
        self._link_up = link_up
        self._link_down = link_down
        self._leaving = False
        self._draining: dict[int, float] = {}
        self._drained_at = inf
        self._admission = Admission(context, book, trust)
        self._clocks = Clocks(context)
        self._discovery = Discovery(context, book)
        self._liveness = Liveness(context, self._silent)
        outcome = Outcome(
            up=self._up,
            refused=self._refused,
            end=lambda link, reason: self._end(link, reason, abort=link.state == UP),
            records=self._discovery.others,
        )
        self._greeting = Greeting(context, self._admission, trust, outcome)
        self._slots = Slots(
            context,
            book,
            trust,
            self._admission,
            own_addresses=lambda: self._discovery.addresses,
            end=lambda link: self._end(link, "idle", goodbye="idle"),
        )
        self._quiet = Quiet(
            context,
            probe=self._slots.probe,
            end=lambda link: self._end(link, "idle", goodbye="idle"),
        )
        self._parts = (self._liveness, self._greeting, self._discovery, self._slots, self._quiet)

    # ----------------------------------------------------------------------------------------------- channels

    def start(self) -> None:
        """Begin to dial: the anchors, and every bootstrap address."""
        self._slots.start()
        self._wake()

    def connected(self, event: events.Connected) -> None:
        """A channel stands, whoever dialled: say HELLO."""
        context = self._context
        link = Link(
            event.link,
            event.node_id,
            event.outbound,
            event.address,
            group_of(event.address),
            event.binding,
            since=context.now,
            last_heard=context.now,
        )
        context.links.all[link.number] = link
        self._slots.connected(link)
        if self._leaving:
            self._end(link, "leaving", abort=True)
        else:
            self._greeting.begin(link, self._discovery.addresses)
        if link.outbound:
            self._wake()
        self._reckon()

    def disconnected(self, event: events.Disconnected) -> None:
        """A channel is gone."""
        link = self._context.links.all.pop(event.link, None)
        self._draining.pop(event.link, None)
        if link is not None and link.state != CLOSING:
            self._forget(link, event.reason, broken=True)
            self._wake()

    def dial_failed(self, event: events.DialFailed) -> None:
        """A dial came to nothing."""
        self._slots.dial_failed(event.address)
        self._wake()

    def heard(self, link: Link) -> None:
        """Any frame came on this link."""
        link.last_heard = self._context.now
        self._greeting.heard(link)

    def news(self, link: Link) -> None:
        """This link was the first to bring an envelope."""
        self._quiet.news(link)
        self.deadline = min(self.deadline, self._quiet.deadline)

    def loop_late(self, seconds: float) -> None:
        """Our own loop stood still. To be said before the first `tick` after it."""
        self._liveness.loop_late(seconds)
        self._reckon()

    # ----------------------------------------------------------------------------------------------- messages

    def hello(self, link: Link, message: Hello) -> None:
        """The other side's HELLO."""
        if link.state == CLOSING:
            return
        if self._greeting.hello(link, message):
            self._clocks.heard(link, message.wall_ms)
            self._discovery.meet(link)
            if self._slots.is_feeler(link):
                self._slots.tested(link)
                self._end(link, "idle", goodbye="idle")
            else:
                self._greeting.answer(link)
        self._reckon()

    def welcome(self, link: Link, message: Welcome) -> None:
        """The other side's WELCOME."""
        if link.state != CLOSING:
            self._greeting.welcome(link, message)
            self._reckon()

    def goodbye(self, link: Link, message: Goodbye) -> None:
        """The other side ends the link, and says why."""
        if link.state == CLOSING:
            return
        if message.reason == "duplicate" and self._greeting.awaits_another(link):
            return
        if link.state == GREETING:
            self._refused(link, message.reason, ())
        self._end(link, message.reason)

    def pong(self, link: Link, message: Pong) -> None:
        """The answer to a PING of ours; one that we no longer remember is ignored."""
        sent = link.pings.pop(message.nonce, None)
        if sent is None:
            return
        sample = self._context.now - sent
        link.rtt = sample if link.rtt is None else link.rtt + RTT_WEIGHT * (sample - link.rtt)
        self._clocks.heard(link, message.wall_ms + int(sample * 500))

    def peers_get(self, link: Link) -> None:
        """A peer asks for others."""
        self._discovery.peers_get(link)

    def peers(self, link: Link, message: Peers) -> None:
        """A peer tells of itself, or answers with others."""
        if self._discovery.peers(link, message):
            self._told()

    def introduced(self, link: Link, records: tuple[bytes, ...]) -> None:
        """Records of others that came with another message (PRUNE)."""
        if self._discovery.introduced(link, records):
            self._told()

    # ----------------------------------------------------------------------------------------------- verdicts

    def violation(self, link: Link, cause: str) -> None:
        """The link broke the protocol: end it at once and ban its id."""
        if link.state == CLOSING:
            return
        self._trust.violation(link.node_id, cause, self._context.wall)
        self._admission.note_violation(link)
        self._end(link, f"violation: {cause}", goodbye="violation", abort=True)

    def hang_up(self, link: Link, reason: str) -> None:
        """End the link; `reason` is a word of GOODBYE, which the other side is told."""
        self._end(link, reason, goodbye=reason)

    def add_peer(self, address: str) -> None:
        """The operator wants a link to `host:port` or `id@host:port`: dial once, now. ValueError if it is neither."""
        node_id, plain = parse_bootstrap(address)
        self._slots.add(plain, node_id)

    def reach(self, node_id: bytes) -> bool:
        """Dial this node now if an address of it is known and it is not linked; whether a dial goes out."""
        entry = self._book.get(node_id)
        if entry is None or self._leaving:
            return False
        return self._slots.reach(entry)

    def drop_peer(self, node_id: bytes) -> bool:
        """The operator ends the link to this node, for a minute at least; False if there is none."""
        return self._end_all(node_id, "dropped", "idle")

    def ban_peer(self, node_id: bytes, seconds: float) -> None:
        """The operator bans this node for `seconds`, 0 lifts its ban; its links end."""
        if seconds <= 0:
            self._trust.unban(node_id, self._context.wall)
            return
        self._trust.ban(node_id, seconds, self._context.wall)
        self._end_all(node_id, "banned", "banned")

    def forget_peer(self, node_id: bytes) -> bool:
        """The operator removes what is known of this node; a link that is up stays. False if it was in no book."""
        self._trust.forget(node_id, self._context.wall)
        self._slots.lost.drop(node_id)
        return self._book.forget(node_id)

    def leave(self) -> None:
        """Say goodbye on every link, and dial no more."""
        self._leaving = True
        self._slots.stop()
        for link in list(self._context.links.all.values()):
            self._end(link, "leaving", goodbye="leaving", on_purpose=True)

    # --------------------------------------------------------------------------------------------------- time

    def tick(self) -> None:
        """Do what time alone asks for, and set `deadline` anew."""
        self._clocks.warn()
        now = self._context.now
        due = [part for part in self._parts if now >= part.deadline]
        for part in due:
            part.tick()
        if now >= self._drained_at:
            self._drain()
        self.deadline = inf
        self._reckon()
        self.deadline = max(self.deadline, now + SHORTEST_TICK)

    def _silent(self, link: Link) -> None:
        self._end(link, "silent", abort=True, broken=True)

    def _drain(self) -> None:
        now = self._context.now
        for number, until in list(self._draining.items()):
            if now >= until:
                del self._draining[number]
                self._context.hang_up(self._context.links.all[number], "duplicate")
        self._drained_at = min(self._draining.values(), default=inf)

    def _told(self) -> None:
        """The book has news: a reason to dial if there is room."""
        if self._slots.has_room():
            self._wake()

    def _wake(self) -> None:
        """Something changed that may be a reason to dial."""
        self._slots.wake()
        self._reckon()

    def _reckon(self) -> None:
        """The deadline is that of the part that is due first."""
        self.deadline = min(self.deadline, self._drained_at, *[part.deadline for part in self._parts])

    # ------------------------------------------------------------------------------------------- up and down

    def _up(self, link: Link, replaced: Link | None) -> None:
        """Both WELCOMEs are through: make room, end the link that this one replaces, and tell everybody."""
        context = self._context
        former = context.links.up.get(link.node_id)
        if former is None and replaced is None and not link.outbound:
            victim = self._admission.victim(link)
            if victim is not None:
                self._end(victim, "evicted", goodbye="evicted")
                if victim is link:
                    return
        is_new = former is None or _epoch(former) != _epoch(link)
        reason = "duplicate" if former is None or not is_new else "restarted"
        for older in (replaced, former):
            if older is not None:
                quiet = older is not former or not is_new
                self._end(older, reason, goodbye="duplicate", drain=DRAIN_SECONDS, quiet=quiet)
        link.state, link.up_since = UP, context.now
        context.links.up[link.node_id] = link
        context.actions.append(Established(link.number))
        if is_new:
            direction = "out" if link.outbound else "in"
            context.emit(PeerUp(node_id=to_text(link.node_id), address=link.address, direction=direction))
        self._clocks.link_up(link)
        self._liveness.watch(link)
        self._slots.up(link)
        self._link_up(link)
        self._discovery.greet(link)
        context.ping(link)
        self._wake()

    def _refused(self, link: Link, reason: str, records: tuple[bytes, ...]) -> None:
        """This link will not be, by the other side's word or our own."""
        self._context.count(f"refused:{reason if reason in COUNTED else 'other'}")
        if not link.outbound:
            return
        self._slots.refused(link, reason)
        self._discovery.introduced(link, records)
        if reason not in ("duplicate", "idle"):
            self._context.emit(
                RefusedNotice(node_id=to_text(link.node_id), reason=reason, address=link.address)
            )

    def _end_all(self, node_id: bytes, reason: str, goodbye: str) -> bool:
        links = [link for link in self._context.links.all.values() if link.node_id == node_id]
        for link in links:
            self._end(link, reason, goodbye=goodbye)
        return bool(links)

    def _end(
        self,
        link: Link,
        reason: str,
        *,
        goodbye: str = "",
        on_purpose: bool = False,
        abort: bool = False,
        broken: bool = False,
        drain: float = 0.0,
        quiet: bool = False,
    ) -> None:
        """End a link from our side. `broken`: nobody wanted it; `quiet`: another link to that node takes over."""
        if link.state == CLOSING:
            return
        if goodbye:
            self._context.send(link, Goodbye(goodbye, on_purpose))
        if drain:
            self._draining[link.number] = until = self._context.now + drain
            self._drained_at = min(self._drained_at, until)
        else:
            self._context.hang_up(link, reason, abort)
        self._forget(link, reason, broken=broken, quiet=quiet)
        self._wake()

    def _forget(self, link: Link, reason: str, *, broken: bool, quiet: bool = False) -> None:
        """Every table forgets this link."""
        was_up = link.state == UP
        link.state = CLOSING
        link.pings.clear()
        if self._context.links.up.get(link.node_id) is link:
            del self._context.links.up[link.node_id]
        self._liveness.forget(link)
        self._clocks.forget(link)
        self._discovery.forget(link)
        if was_up:
            self._link_down(link, reason)
            if not quiet:
                self._context.emit(PeerDown(node_id=to_text(link.node_id), reason=reason))
        if not self._leaving:
            self._slots.closed(link, was_up=was_up, broken=broken, replaced=quiet)
        self._greeting.forget(link)


def _epoch(link: Link) -> int:
    return link.hello.epoch if link.hello is not None else 0
