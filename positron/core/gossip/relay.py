"""Who an envelope is pushed to: every link that grafted us and has not shown it, and near its author more (`flood`).

`ttl` bounds pushes by hops; beyond it an envelope is only announced, so neither an honest limit nor a forged hop count
can keep it from anyone. Sealed envelopes are flooded to every link and never announced.
"""

from __future__ import annotations

from collections.abc import Callable

from positron.core import messages
from positron.core.context import Context
from positron.core.envelope import BROADCAST, Envelope
from positron.core.events import PAYLOAD, Send
from positron.core.gossip.flood import Flood
from positron.core.gossip.holdings import Holdings
from positron.core.gossip.recents import Recent, Spread
from positron.core.gossip.state import LinkGossip
from positron.core.limits import LINK_FULL

CATCH_UP = 64
"""Envelopes pushed to a link that has just come up."""

BIG = 16 * 1024
"""Above this many bytes only links that ranked us first get a push, and those that grafted its author from him: near
him there are no duplicates, and it is by the queues of who he pushes to that he is held back (`is_crowded`)."""

LATE_MS = 20_000
"""Neither does anybody else of what was made longer ago than this (milliseconds; no honest clock is further off). It
comes in a heap, after a cut that healed, and is announced to everybody at once or within a second as all else is."""


class Relay:
    """The pushing side of gossip."""

    def __init__(
        self,
        context: Context,
        holdings: Holdings,
        states: dict[int, LinkGossip],
        is_small: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_small` says whether the network is so small that its authors reach nearly everybody themselves."""
        self._context = context
        self._holdings = holdings
        self._states = states
        self._is_small = is_small
        self.flood = Flood(context)
        self.deadline = float("inf")
        """When the next of what was skipped is to be pushed."""

    def catch_up(self, state: LinkGossip) -> None:
        """Push what came since the channel stood, oldest first: the other side may have been up before us.

        Else what was published in between would come to it by anti-entropy alone, and be history to a node that is
        new. More than `CATCH_UP` is left to that all the same.
        """
        fresh = [
            recent for recent in self._holdings.recent.values() if recent.spread.first >= state.link.since
        ]
        for recent in fresh[-CATCH_UP:]:
            if recent.envelope.kind == BROADCAST and recent.hops < recent.envelope.ttl:
                self._push(state, recent.spread, messages.push_frame(recent.hops, recent.envelope.raw))

    def flood_sealed(self, envelope: Envelope, hops: int, state: LinkGossip | None) -> bool:
        """Flood a DIRECT or a RECEIPT: by push only, to every link that has not shown it, within its ttl.

        False if this link may not have it relayed: it is not seen then, so that another link may, with hops or budget
        left.
        """
        if hops >= envelope.ttl:
            return False
        if state is not None and not self._may_relay(state, envelope):
            self._context.count("rejected:budget")
            return False
        spread = self._holdings.carry(envelope, hops).spread
        if state is not None:
            spread.shown.add(state.link.number)
        for other in self._unshown(spread):
            self._push(other, spread, messages.push_frame(hops, envelope.raw))
        return True

    def flood_again(self, envelope_id: bytes, hops: int, state: LinkGossip) -> None:
        """Another copy of what was flooded came: flood it anew if the first had less than half its hops left, and this
        has more. Else who brings it first, and lies about its hops, ends the flood a hop from here."""
        recent = self._holdings.recent.get(envelope_id)
        if recent is None or not hops <= recent.envelope.ttl // 2 < recent.hops:
            return
        if not self._may_relay(state, recent.envelope):
            return
        recent.hops = hops
        recent.spread.told.clear()
        for other in self._unshown(recent.spread):
            self._push(other, recent.spread, messages.push_frame(hops, recent.envelope.raw))

    def send_sealed(self, envelope: Envelope) -> None:
        """Send a DIRECT or RECEIPT of our own: over the recipient's link if there is one, else flood it."""
        link = self._context.links.up.get(envelope.recipient)
        state = self._states.get(link.number) if link is not None else None
        if state is None:
            self.flood_sealed(envelope, 0, None)
        else:
            self._push(state, self._holdings.carry(envelope, 0).spread, messages.push_frame(0, envelope.raw))

    def _may_relay(self, state: LinkGossip, envelope: Envelope) -> bool:
        """Whether the link that brought a sealed envelope has budget left to have it relayed."""
        now = self._context.now
        return state.direct.take(1, now) and state.direct_bytes.take(len(envelope.raw), now)

    def is_crowded(self) -> bool:
        """Whether more than half of the links that grafted us are too full to push to: publishing waits then."""
        grafted = crowded = 0
        for state in self._states.values():
            if state.pushes:
                grafted += 1
                crowded += state.congested
        return 2 * crowded > grafted

    def drained(self, state: LinkGossip) -> None:
        """The link takes pushes again: what it missed and was only told of goes before it has to ask, oldest first.

        No more than may make it full again. It goes on when that has drained, or at the next tick if it took all of it.
        What it asked for meanwhile it has, and what is no longer in memory it has to ask for.
        """
        if not state.pushes:
            state.skipped.clear()
        size = 0
        while state.skipped and size <= LINK_FULL:
            recent = self._holdings.recent.get(state.skipped.popleft())
            if recent is None or state.link.number in recent.spread.shown:
                continue
            envelope = recent.envelope
            if not state.offers.get(envelope.id):
                self._push(state, recent.spread, messages.push_frame(recent.hops, envelope.raw))
                size += len(envelope.raw)
        if state.skipped:
            self.deadline = self._context.now

    def tick(self) -> None:
        """Go on with links that were full and are no longer."""
        self.deadline = float("inf")
        for state in self._states.values():
            if state.skipped and not state.congested:
                self.drained(state)

    def push(self, recent: Recent) -> None:
        """Push an envelope that is new here to whoever wants it. Its author, who knows it, does not."""
        envelope, hops, spread = recent.envelope, recent.hops, recent.spread
        if hops >= envelope.ttl:
            return
        big = len(envelope.raw) > BIG
        late = self._context.wall_ms - envelope.created_ms > LATE_MS
        sparing = late or (big and hops > 0)
        chosen: list[LinkGossip] = []
        others: list[LinkGossip] = []
        author = self._context.links.up.get(envelope.author)
        for state in self._unshown(spread):
            if state.link is author:
                continue
            if state.pushes and (not sparing or state.rank == 1):
                if state.congested or state.skipped:  # what it missed goes first
                    state.skipped.append(envelope.id)
                else:
                    chosen.append(state)
            elif not (state.pushes or state.congested):
                others.append(state)
        if not (big or late or (hops and self._is_small())):
            chosen += self.flood.choose(others, hops, len(chosen))
        if not chosen:
            return
        frame = messages.push_frame(hops, envelope.raw)
        for state in chosen:
            self._push(state, spread, frame)
        self._context.count("relayed" if hops else "pushed", len(chosen))

    def _unshown(self, spread: Spread) -> list[LinkGossip]:
        shown, told = spread.shown, spread.told
        return [state for number, state in self._states.items() if number not in shown and number not in told]

    def _push(self, state: LinkGossip, spread: Spread, frame: bytes) -> None:
        spread.told.add(state.link.number)
        state.link.messages_out += 1
        state.offer(spread.id)
        self._context.actions.append(Send(state.link.number, frame, PAYLOAD))
