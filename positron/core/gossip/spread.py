"""`Gossip`: an envelope comes in on one link and goes out on the others.

New envelope: keep it, deliver it, push it to every link that grafted us and has not shown the id, and near its author
to more (`flood`), announce it to all others. `ttl` bounds eager push by hops; beyond it an envelope is only announced,
so neither an honest limit nor a forged hop count can keep it from anyone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from positron.core import messages
from positron.core.context import Context
from positron.core.envelope import BROADCAST, DIRECT, Entry, Envelope
from positron.core.events import Fetched, Send
from positron.core.gossip.accept import STUBBED, TOLD, VIOLATIONS, Acceptance, Verdict
from positron.core.gossip.announce import Announcer, split_ids
from positron.core.gossip.holdings import Holdings, Index
from positron.core.gossip.pull import Arrival, Puller
from positron.core.gossip.recents import Spread
from positron.core.gossip.relay import Relay
from positron.core.gossip.serve import Server
from positron.core.gossip.sources import Sources
from positron.core.gossip.state import LinkGossip, link_gossip
from positron.core.identity import to_text
from positron.core.limits import Bucket, Limits
from positron.core.links import Link
from positron.core.notices import Refused
from positron.core.records import IndexEntry
from positron.core.sequences import Sequences

PROOFS_RATE, PROOFS_BURST = 1, 10
"""Equivocations told to all links, a second and at once. A proof is up to 131 KiB, is never dropped, and goes to every
link: whoever makes up authors to equivocate with could else have fifty times its bytes sent."""

IGNORED_BELOW = 0.2
"""A first-hand score below this: its HAVE is ignored."""


class Gossip:
    """The part of the core that spreads envelopes. `states` holds one `LinkGossip` per link that is up."""

    def __init__(
        self,
        context: Context,
        index: Index,
        sequences: Sequences,
        *,
        first_hand: Callable[[bytes], float],
        score: Callable[[bytes], float],
        useful: Callable[[Link, Envelope], None],
        violation: Callable[[Link, str], None],
        broken_promise: Callable[[Link], None],
        limits_for: Callable[[Link], Limits],
        sealed: Callable[[LinkGossip, Envelope, int], bool],
        repeated: Callable[[Envelope], None],
    ) -> None:
        """The callables are the swarm's: trust asked and told, links cut, sealed ones handed on (False: not yet)."""
        self._context = context
        self._sequences = sequences
        self._first_hand = first_hand
        self._useful = useful
        self._violation = violation
        self._limits_for = limits_for
        self._sealed = sealed
        self._repeated = repeated
        self.states: dict[int, LinkGossip] = {}
        self.holdings = Holdings(context, index)
        self.acceptance = Acceptance(context, self.holdings, sequences)
        self.puller = Puller(
            context,
            self.holdings,
            self.states,
            rank=lambda state: (-int(score(state.link.node_id) * 10), state.link.rtt or 0.1),
            broken_promise=lambda state: broken_promise(state.link),
        )
        self.sources = Sources(
            context, self.states, first_hand=first_hand, last_pull=lambda: self.puller.last_pull
        )
        self.server = Server(context, self.holdings, self.states)
        self.relay = Relay(context, self.holdings, self.states, is_small=self._is_small)
        self.announcer = Announcer(context, self.states, is_small=self._is_small)
        self._evidence: dict[int, Bucket] = {}
        self._proofs = Bucket(PROOFS_RATE, PROOFS_BURST)
        self._next_housekeeping = 0.0

    def _is_small(self) -> bool:
        return self.sources.is_one_enough

    def load(self, index: Iterable[IndexEntry], state: dict[str, str]) -> None:
        """Take over what the store held."""
        self.holdings.load(index, state)
        self.acceptance.load(state)

    # ------------------------------------------------------------------------------------------------- links

    def link_up(self, link: Link) -> LinkGossip:
        """A link is up: it may become a source, and may ask for what is held."""
        state = self.states[link.number] = link_gossip(link, self._limits_for(link))
        self.puller.link_up(state)
        self.sources.link_up(state)
        self.relay.catch_up(state)
        return state

    def link_down(self, link: Link) -> None:
        """A link is gone: forget everything about it, ask others for what it owed."""
        state = self.states.pop(link.number, None)
        self._evidence.pop(link.number, None)
        if state is not None:
            self.puller.link_down(state)
            self.sources.link_down()

    def congestion(self, number: int, full: bool) -> None:
        """A link's send queue is full, or has drained: while it is full nothing is pushed to it."""
        state = self.states.get(number)
        if state is not None:
            state.congested = full
            if not full:
                self.relay.drained(state)

    # ------------------------------------------------------------------------------------------------- PUSH

    def push(self, state: LinkGossip, hops: int, raw: bytes) -> bool:
        """An envelope came; `hops` is what the link said, one less than the links it crossed by now.

        Whether it was news: another copy of a broadcast that nobody asked for makes nothing due earlier.
        """
        state.link.messages_in += 1
        verdict = self.acceptance.judge(state, raw)
        envelope = verdict.envelope
        if envelope is None or verdict.reason in VIOLATIONS:
            self._refuse(state, verdict)
            return True
        arrival = self.puller.arrived(state, envelope.id, len(raw))
        if not arrival.asked:
            state.envelopes.debit(1, self._context.now)
            duplicate = verdict.reason == "duplicate"
            if envelope.author == state.link.node_id:
                state.author.debit(1, self._context.now)
                state.spoke = self._context.now
                if duplicate:
                    self._came_from_author(envelope.id)
            elif state.source:
                self.sources.pushed(state, duplicate)
            else:
                self.relay.flood.measure(hops, duplicate)
        if verdict.reason is not None:
            self._refuse(state, verdict)
            if envelope.kind != BROADCAST:
                self.relay.flood_again(envelope.id, min(hops + 1, 255), state)
        elif envelope.kind == BROADCAST:
            self._accepted(state, envelope, verdict.entries or [], min(hops + 1, 255), arrival)
        elif self._sealed(state, envelope, min(hops + 1, 255)):
            self.holdings.see(envelope.id)
        if arrival.asked:
            self.puller.pump(state)
        return arrival.asked or verdict.reason != "duplicate" or envelope.kind != BROADCAST

    def _accepted(
        self,
        state: LinkGossip,
        envelope: Envelope,
        entries: list[Entry],
        hops: int,
        arrival: Arrival,
    ) -> None:
        context = self._context
        by_sync = arrival.asked and arrival.first is None
        context.count("received", envelope.count)
        state.link.last_useful = context.now
        recent = self.holdings.keep(envelope, hops, topics_of(entries))
        spread = recent.spread
        spread.bearer = state.link.number
        spread.shown.add(spread.bearer)
        if arrival.first is not None:
            self._evidence_before(spread, state, arrival, arrival.first)
        elif not by_sync:
            self.sources.showed(state, 0.0)
        if not by_sync:
            self.sources.watch(spread)
        self._sequences.accept(envelope, entries, hops, state.link.node_id, live=not by_sync)
        self._useful(state.link, envelope)
        if not by_sync:
            self.relay.push(recent)
        self.announcer.announce(spread)

    def _came_from_author(self, envelope_id: bytes) -> None:
        """An author pushed to us what a link had relayed before: that was waste, and who was read first is chance."""
        recent = self.holdings.recent.get(envelope_id)
        bearer = self.states.get(recent.spread.bearer) if recent is not None else None
        if bearer is not None and bearer.source:
            self.sources.pushed_in_vain(bearer)

    def _evidence_before(self, spread: Spread, state: LinkGossip, arrival: Arrival, first: float) -> None:
        """It was announced before it came: those links need no push, and their lag is known."""
        spread.first = first
        spread.shown.update(arrival.announced)
        for number, at in arrival.announced.items():
            if number in self.states:
                self.sources.showed(self.states[number], at - first)
        if state.link.number not in arrival.announced:
            self.sources.showed(state, self._context.now - first)
        if arrival.asked and not state.source:
            self.sources.pulled(state)

    def _refuse(self, state: LinkGossip, verdict: Verdict) -> None:
        reason, envelope = verdict.reason or "", verdict.envelope
        self._context.count("rejected:" + reason)
        if reason in VIOLATIONS:
            self._violation(state.link, reason)
            return
        if envelope is None:
            return
        if reason == "duplicate":
            self._shown(state, envelope.id)
            if envelope.kind == DIRECT and envelope.author == state.link.node_id:
                self._repeated(envelope)
            return
        if reason in STUBBED:
            self.holdings.refuse(envelope)
        if verdict.conflict is not None:
            self._equivocated(envelope, verdict.conflict, except_for=None)
        if reason in TOLD and envelope.author == state.link.node_id:
            self._context.send(state.link, messages.Refused(envelope.id, reason))

    # -------------------------------------------------------------------------------------------- relaying

    def originate(self, envelope: Envelope, entries: list[Entry], mark: int) -> None:
        """Spread an envelope of our own, already sealed."""
        recent = self.holdings.keep(envelope, 0, topics_of(entries), mark)
        self._sequences.accept(envelope, entries, 0, self._context.me.node_id, live=True)
        self.relay.push(recent)
        self.announcer.announce(recent.spread, own=True)

    # -------------------------------------------------------------------------------------- HAVE, WANT, MISS

    def have(self, state: LinkGossip, ids: list[bytes]) -> bool:
        """The link announces ids; whether one was news."""
        state.have.debit(len(ids), self._context.now)
        unknown = [
            envelope_id
            for envelope_id in ids
            if not self._shown(state, envelope_id) and not self.holdings.is_known(envelope_id)
        ]
        if not unknown or self.ignores(state):
            return False
        for envelope_id in unknown:
            self.puller.announced(state, envelope_id)
        return True

    def ignores(self, state: LinkGossip) -> bool:
        """Whether nothing is asked for that this link announces: it broke promises, lately or all along."""
        return state.ignored_until > self._context.now or self._first_hand(state.link.node_id) < IGNORED_BELOW

    def is_ignored(self, link: Link) -> bool:
        """Whether nothing is asked for that this link announces; one that gossip does not know is not ignored."""
        state = self.states.get(link.number)
        return state is not None and self.ignores(state)

    def _shown(self, state: LinkGossip, envelope_id: bytes) -> bool:
        """The link has this one. Whether it is of the last seconds."""
        recent = self.holdings.recent.get(envelope_id)
        if recent is None:
            return False
        spread = recent.spread
        if state.link.number not in spread.shown:
            spread.shown.add(state.link.number)
            self.sources.showed(state, self._context.now - spread.first)
        return True

    def lacking(self, link: Link, ids: list[bytes]) -> bool:
        """An exchange of sets showed that the link holds these and we do not. Whether it is to be asked for them."""
        state = self.states.get(link.number)
        if state is None or self.ignores(state):
            return False
        return self.puller.shown_by_sync(state, ids)

    def offered(self, link: Link, ids: list[bytes]) -> None:
        """An exchange of sets told the link of these: it may ask for them."""
        state = self.states.get(link.number)
        if state is not None:
            for envelope_id in ids:
                state.offer(envelope_id)

    def want(self, state: LinkGossip, message: messages.Want) -> None:
        """The link asks for ids."""
        self.server.want(state, split_ids(message.ids))

    def miss(self, state: LinkGossip, message: messages.Miss) -> None:
        """The link does not hold ids that we asked for."""
        for envelope_id in split_ids(message.ids):
            self.puller.missed(state, envelope_id)
        self.puller.pump(state)

    def fetched(self, event: Fetched) -> None:
        """The store answered."""
        self.server.fetched(event)

    def ping(self, state: LinkGossip, nonce: int) -> bool:
        """Whether the PONG may go now; if not, it goes after what the link wanted before."""
        return self.server.may_pong(state, nonce)

    # ---------------------------------------------------------------------------------- evidence and refusals

    def evidence(self, state: LinkGossip, message: messages.Evidence) -> None:
        """Two envelopes of one author that claim the same numbers: mute it and pass the proof on, once."""
        bucket = self._evidence.setdefault(state.link.number, Bucket(1, 10))
        if not bucket.take(1, self._context.now):
            return
        proven = self.acceptance.evidence(message.first, message.second)
        if proven is None or not self._sequences.tracks(proven.author):
            return
        second = self._context.sealer.parse(message.second)
        self._equivocated(second, proven, except_for=state)

    def _equivocated(self, envelope: Envelope, first: Envelope, except_for: LinkGossip | None) -> None:
        if self.acceptance.is_muted(envelope.author):
            return
        self._context.count("equivocations")
        self.acceptance.mute(envelope.author)
        self.holdings.mute(envelope.author)
        if not self._proofs.take(1, self._context.now):
            return
        frame = messages.encode(messages.Evidence(first.raw, envelope.raw))
        for state in self.states.values():
            if state is not except_for:
                self._context.actions.append(Send(state.link.number, frame))

    def refused(self, state: LinkGossip, message: messages.Refused) -> None:
        """A neighbour refused an envelope of ours. It may say so once of each that it was given, and of no other: the
        application is told, and the log, which else anybody could fill."""
        if not state.refused(message.id) or self.holdings.author_of(message.id) != self._context.me.node_id:
            return
        self._context.emit(
            Refused(
                node_id=to_text(state.link.node_id),
                reason=message.reason,
                address=state.link.address,
                id=message.id.hex(),
            )
        )

    # ------------------------------------------------------------------------------------------------- time

    @property
    def deadline(self) -> float:
        """When `tick` is next needed."""
        return min(
            self.announcer.deadline,
            self.relay.deadline,
            self.puller.deadline,
            self.sources.deadline,
            self.server.deadline,
            self._sequences.deadline,
            self._next_housekeeping,
        )

    def tick(self) -> None:
        """Do what is due by now."""
        now = self._context.now
        for part in (self.announcer, self.relay, self.puller, self.server, self._sequences, self.sources):
            if now >= part.deadline:
                part.tick()
        if now >= self._next_housekeeping:
            self._next_housekeeping = now + 1.0
            self.holdings.tick()


def topics_of(entries: list[Entry]) -> tuple[str, ...]:
    """The distinct topics of a bundle, in order."""
    if len(entries) == 1:
        return (entries[0][0],)
    return tuple({topic: None for topic, _ in entries})
