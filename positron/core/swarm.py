"""All of the core as one state machine: `handle(event, now) -> actions`, and one `deadline`.

The swarm joins the parts, which do not know each other: it decodes frames, gives each message to the part that owns
it, and turns every fault of a peer into a verdict on the link it came on.

Rule: `handle` never raises for anything a peer did. Time is `now`, chance is the `Random` given at birth, and the
wall clock comes in by the `WallClock` event; so one seed replays everything.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import assert_never

from positron.core import events, messages
from positron.core.addresses import AddressBook, group_of, host_of
from positron.core.anti_entropy import AntiEntropy
from positron.core.conduct import Conduct
from positron.core.context import Context, Parameters, ReadRecord
from positron.core.direct import Direct
from positron.core.envelope import Entry, Envelope, Sealer
from positron.core.events import Action, Event
from positron.core.gossip import Gossip, LinkGossip
from positron.core.gossip.announce import announced_ids
from positron.core.gossip.budgets import Budgets
from positron.core.gossip.publish import Publisher
from positron.core.identity import Signer, verify
from positron.core.links import CLOSING, UP, Link
from positron.core.overlay import Overlay
from positron.core.pings import Pings
from positron.core.records import Loaded, StateKept
from positron.core.sequences import Sequences
from positron.core.snapshots import PeerSnapshot, SwarmStats, peer_snapshots, swarm_stats
from positron.core.statements import Verify, read_address_record
from positron.core.sync import Index
from positron.core.trust import Explanation, Trust
from positron.core.vouching import Vouching
from positron.errors import ClockSkew, MessageError


class Swarm:
    """One node's whole behavior. See the module.

    `loaded` is what its store held; `now` and `wall` are the two clocks at birth.
    """

    def __init__(
        self,
        identity: Signer,
        parameters: Parameters,
        loaded: Loaded,
        rng: Random,
        *,
        verify: Verify = verify,
        read_record: ReadRecord = read_address_record,
        make_sealer: Callable[[bytes], Sealer] = Sealer,
        now: float = 0.0,
        wall: float = 0.0,
    ) -> None:
        context = Context(identity, parameters, rng, loaded.epoch, verify, read_record, make_sealer, now)
        context.wall_offset = wall - now
        self._context = context
        self.trust = Trust(
            me=identity.node_id,
            baseline=parameters.trust_baseline,
            gain=parameters.trust_gain,
            penalty=parameters.trust_penalty,
            ban=parameters.trust_ban,
        )
        self.trust.load(loaded.trust)
        first_start = int(loaded.state.get("first_start_ms", "0"))
        if not first_start:
            first_start = loaded.epoch
            context.remember(StateKept("first_start_ms", str(first_start)))
        self._sequences = Sequences(context, first_start_ms=first_start)
        self._sequences.load(loaded.sequences, loaded.floors)
        self._index = Index()
        self._book = AddressBook(context)
        self._book.load(loaded.peers, loaded.state)
        self.overlay = Overlay(
            context, self._book, self.trust, link_up=self._link_up, link_down=self._link_down
        )
        self._conduct = Conduct(context, self.trust, self.overlay)
        self.gossip = Gossip(
            context,
            self._index,
            self._sequences,
            first_hand=lambda node_id: self.trust.first_hand(node_id, context.wall),
            score=lambda node_id: self.trust.score(node_id, context.wall),
            useful=self._conduct.useful,
            violation=self._conduct.violation,
            broken_promise=self._conduct.broken_promise,
            limits_for=self.overlay.limits_for,
            sealed=self._sealed_arrived,
            repeated=lambda envelope: self._direct.repeated(envelope),
        )
        self.gossip.load(loaded.index, loaded.state)
        self._budgets = Budgets(context, self.gossip.states, self.overlay.heard)
        self._publisher = Publisher(context, self.gossip.originate, held=self.gossip.relay.is_crowded)
        self._direct = Direct(context, self._sequences, self.gossip.relay.send_sealed)
        self._direct.load(loaded.index)
        self._sync = AntiEntropy(
            context,
            self._index,
            known=self.gossip.holdings.is_known,
            ignored=self.gossip.is_ignored,
            lacking=self.gossip.lacking,
            offered=self.gossip.offered,
        )
        self._vouching = Vouching(context, self.trust)
        self._pings = Pings(context)
        self._started = False
        self.deadline = now
        """When `handle` next wants a `Tick`, in the time of `now`; it may be past or early, never late."""

    # ------------------------------------------------------------------------------------------------ border

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event at `now` (seconds, never going back) and say what to do, in order."""
        context = self._context
        if now > context.now:
            context.now = now
        if not self._started:
            self._started = True
            self.overlay.start()
        if self._dispatch(event):
            due = self._next_due()
        else:  # most of what arrives tells nothing new: no deadline but these two can have moved
            due = min(self.deadline, self.overlay.deadline, self._budgets.deadline)
        # What is published is sealed by the next event, at the earliest: the shell's next turn.
        if due <= context.now and not isinstance(event, events.Publish):
            self._tick()
            due = self._next_due()
        self.deadline = due
        self._sequences.flush()
        actions, context.actions = context.actions, []
        return actions

    def publish(self, entry: Entry, now: float) -> int:
        """As `handle(Publish)` where that would accept this message at once: its sequence number. 0 where it would not.

        Nothing else happens and nothing is to be done but to heed `deadline`, so it costs next to nothing.
        """
        context, publisher = self._context, self._publisher
        if now > context.now:
            context.now = now
        seq = 0 if self.overlay.skewed_out else publisher.accept(entry)
        if publisher.deadline < self.deadline:
            self.deadline = publisher.deadline
        return seq

    def _next_due(self) -> float:
        return min(
            self.overlay.deadline,
            self.gossip.deadline,
            self._publisher.deadline,
            self._direct.deadline,
            self._sync.deadline,
            self._vouching.deadline,
            self._budgets.deadline,
            self._conduct.deadline,
        )

    def _dispatch(self, event: Event) -> bool:
        """Do what the event asks for; whether any deadline may have moved for it."""
        match event:
            case events.Received():
                return self._received(event)
            case events.Tick():
                pass
            case events.Publish():
                self._publish(event)
            case events.Congested() | events.Drained():
                self._congestion(event)
            case events.Stored():
                self._direct.stored(event.mark)
            case events.Fetched():
                self.gossip.fetched(event)
            case events.Connected():
                self.overlay.connected(event)
            case events.Disconnected():
                self._disconnected(event)
            case events.DialFailed():
                self.overlay.dial_failed(event)
            case events.SendDirect():
                self._send_direct(event)
            case events.StoreHealth():
                self.gossip.holdings.store_health(event.storing)
            case events.WallClock():
                self._context.wall_offset = event.offset
            case events.LoopLate():
                self.overlay.loop_late(event.seconds)
            case events.AddPeer():
                self.overlay.add_peer(event.address)
            case events.DropPeer():
                self.overlay.drop_peer(event.node_id)
            case events.BanPeer():
                self.overlay.ban_peer(event.node_id, event.seconds)
            case events.ForgetPeer():
                self.overlay.forget_peer(event.node_id)
            case events.SetTrust():
                self._conduct.set_score(event.node_id, event.score)
            case events.PingPeer():
                self._pings.ask(event)
            case events.Leave():
                self._leave()
            case _:
                assert_never(event)
        return True

    def _tick(self) -> None:
        now = self._context.now
        for part in (self.overlay, self.gossip, self._publisher, self._direct, self._sync, self._vouching):
            if now >= part.deadline:
                part.tick()
        for judge in (self._budgets, self._conduct):
            if now >= judge.deadline:
                judge.tick()

    # ------------------------------------------------------------------------------------------------- links

    def _link_up(self, link: Link) -> None:
        self.trust.met(link.node_id, self._context.wall)
        self.gossip.link_up(link)
        self._sync.link_up(link)
        self._vouching.link_up(link)
        self._direct.link_up(link.node_id)

    def _link_down(self, link: Link, reason: str) -> None:
        self.gossip.link_down(link)
        self._sync.link_down(link)
        self._vouching.link_down(link)
        self._sequences.link_down()
        self._budgets.link_down(link)
        self._publisher.reschedule()
        self._pings.link_down(link, reason)
        if link.node_id not in self._context.links.up:
            self.trust.parted(link.node_id, self._context.wall)

    def _leave(self) -> None:
        self._publisher.flush()
        self._sequences.leave()
        self._conduct.keep(float("inf"))
        self.overlay.leave()

    # ------------------------------------------------------------------------------------------------ frames

    def _disconnected(self, event: events.Disconnected) -> None:
        link = self._context.links.get(event.link)
        if event.garbled and link is not None:
            self._conduct.violation(link, event.reason)
        self.overlay.disconnected(event)

    def _received(self, event: events.Received) -> bool:
        """Frames came; whether something may be due earlier because of them, leaving overlay and budgets aside."""
        link = self._context.links.all.get(event.link)
        if link is None or link.state == CLOSING:
            return False
        self.overlay.heard(link)
        size, news = 0, False
        state = self.gossip.states.get(event.link)
        for frame in event.frames:
            size += len(frame)
            try:
                news |= self._frame(link, state, frame)
            except MessageError as error:
                self._context.count("rejected:malformed")
                self._conduct.violation(link, str(error))
            if link.state == CLOSING:
                return True
            if state is None:
                state = self.gossip.states.get(link.number)
        if state is not None:
            self._budgets.charge(state, size)
        return news

    def _frame(self, link: Link, state: LinkGossip | None, frame: bytes) -> bool:
        """One frame; False if it told nothing new."""
        if state is not None and len(frame) > 1:  # nearly all frames are these two
            if frame[0] == messages.PUSH_TAG:
                return self.gossip.push(state, frame[1], frame[2:])
            if frame[0] == messages.HAVE_TAG:
                return self.gossip.have(state, announced_ids(frame))
        message = messages.decode(frame)
        if link.state != UP or state is None:
            self._greeting(link, message)
        else:
            self._budgets.control(state, frame)
            self._message(link, state, message)
        return True

    def _message(self, link: Link, state: LinkGossip, message: messages.Message | None) -> None:
        match message:
            case messages.Ping():
                if self.gossip.ping(state, message.nonce):
                    self._context.send(link, messages.Pong(message.nonce, 0, self._context.wall_ms))
            case messages.Pong():
                self._pong(link, state, message)
            case messages.Want():
                self.gossip.want(state, message)
            case messages.Miss():
                self.gossip.miss(state, message)
            case messages.Graft():
                self.gossip.sources.graft(state, message)
            case messages.Prune():
                self.overlay.introduced(link, message.records)
                self.gossip.sources.prune(state, message)
            case messages.Sync():
                self._sync.received(link, message)
            case messages.PeersGet():
                self.overlay.peers_get(link)
            case messages.Peers():
                self.overlay.peers(link, message)
            case messages.Refused():
                self.gossip.refused(state, message)
            case messages.Evidence():
                self.gossip.evidence(state, message)
            case messages.VouchGet():
                self._vouching.asked(link)
            case messages.Vouch():
                self._vouching.heard(link, message)
            case messages.Goodbye() | messages.Hello() | messages.Welcome() | None:
                self._greeting(link, message)
            case messages.Push() | messages.Have():
                self._greeting(link, message)
            case _:
                assert_never(message)

    def _greeting(self, link: Link, message: messages.Message | None) -> None:
        match message:
            case None:
                self._conduct.unknown(link)
            case messages.Hello():
                self.overlay.hello(link, message)
            case messages.Welcome():
                self.overlay.welcome(link, message)
            case messages.Goodbye():
                self.overlay.goodbye(link, message)
            case _:
                raise MessageError("something before the greeting")

    def _pong(self, link: Link, state: LinkGossip, message: messages.Pong) -> None:
        self._pings.pong(link, message.nonce)
        self.gossip.puller.pong(state, message.nonce)
        self.overlay.pong(link, message)

    def _congestion(self, event: events.Congested | events.Drained) -> None:
        self.gossip.congestion(event.link, isinstance(event, events.Congested))
        self._publisher.reschedule()

    # ------------------------------------------------------------------------------------- the application

    def _publish(self, event: events.Publish) -> None:
        if self.overlay.skewed_out:
            skew = self.overlay.clock_skew
            error = ClockSkew(f"this clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}")
            self._context.actions.append(events.Settle(event.token, error=error))
        else:
            self._publisher.publish(event.token, event.entries)

    def _send_direct(self, event: events.SendDirect) -> None:
        if event.recipient not in self._context.links.up:
            self.overlay.reach(event.recipient)
        self._direct.send(event.token, event.recipient, event.payload, event.timeout)

    def _sealed_arrived(self, state: LinkGossip, envelope: Envelope, hops: int) -> bool:
        ours = self._direct.received(envelope, hops, state.link.node_id)
        return ours or self.gossip.relay.flood_sealed(envelope, hops, state)

    # ------------------------------------------------------------------------------------------------ views

    def peers(self) -> list[PeerSnapshot]:
        """The links that are up, oldest first."""
        return peer_snapshots(self._context, self.overlay.suspects, self.trust)

    def stats(self) -> SwarmStats:
        """Counts since the start, and what there is now."""
        return swarm_stats(self._context, self.overlay, self.trust, self.gossip.holdings)

    def explain(self, node_id: bytes) -> Explanation:
        """What we think of a node, in parts."""
        return self.trust.explain(node_id, self._context.wall)

    @property
    def known_ids(self) -> list[bytes]:
        """Every node id we can name: linked, in the address book, or judged."""
        booked = [entry.node_id for entry in self._book]
        return list(dict.fromkeys([*self._context.links.up, *booked, *self.trust.judged()]))

    def strangers(self) -> list[tuple[bytes, str]]:
        """Every node known that is not linked, with the address it would be dialled at, "" if none is known."""
        linked = self._context.links.up
        found = [(node_id, self._book.get(node_id)) for node_id in self.known_ids if node_id not in linked]
        return [(node_id, entry.address if entry is not None else "") for node_id, entry in found]

    def tried(self, host: str) -> bool:
        """Whether our own handshake proved a node at this host: half of the handshakes are for those."""
        entries = self._book.of_group(group_of(host))
        return any(entry.kept.tried and host_of(entry.address) == host for entry in entries)
