"""Answering WANT: from memory at once, from the store under the node's history budget.

A WANT is answered, by PUSH or MISS, before the PONG of any later PING: so a PONG waits while the store is being asked
for that link. Only ids that were announced or shown to the link are served, twice each; everything else is a MISS.
"""

from __future__ import annotations

from collections import deque

from positron.core import messages
from positron.core.context import Context
from positron.core.events import Fetch, Fetched, Send
from positron.core.gossip.holdings import Holdings
from positron.core.gossip.state import LinkGossip

FETCH_BATCH = 64
"""Envelopes read from the store in one go, so that one link's history does not hold up another's."""

MAX_WAITING = 8192
"""Ids one link may have waiting for the store; what goes beyond is a MISS."""


class Server:
    """Owns what links are waiting for."""

    def __init__(self, context: Context, holdings: Holdings, states: dict[int, LinkGossip]) -> None:
        self._context = context
        self._holdings = holdings
        self._states = states
        self._budget = context.parameters.limits.history.bucket()
        self._queue: deque[int] = deque()
        self._waiting: dict[int, deque[bytes]] = {}
        self._fetching: dict[int, list[bytes]] = {}
        self.deadline = float("inf")
        """When the history budget allows more."""

    def want(self, state: LinkGossip, ids: list[bytes]) -> None:
        """The link asks for these."""
        missing: list[bytes] = []
        number = state.link.number
        for envelope_id in ids:
            if not state.may_serve(envelope_id) or not self._holdings.is_held(envelope_id):
                missing.append(envelope_id)
                continue
            recent = self._holdings.recent.get(envelope_id)
            if recent is not None:
                recent.spread.told.add(number)
                self._push(state, recent.hops, recent.envelope.raw)
                continue
            waiting = self._waiting.setdefault(number, deque())
            if len(waiting) >= MAX_WAITING:
                missing.append(envelope_id)
                continue
            if not waiting and number not in self._fetching:
                self._queue.append(number)
            waiting.append(envelope_id)
            state.fetching += 1
        self._miss(state, missing)
        self.tick()

    def tick(self) -> None:
        """Ask the store for the next links' turns, as far as the budget goes; round robin by link."""
        self.deadline = float("inf")
        now = self._context.now
        while self._queue:
            wait = self._budget.wait(now)
            if wait > 0:
                self.deadline = now + wait
                return
            number = self._queue.popleft()
            waiting = self._waiting.get(number)
            if number not in self._states or not waiting:
                self._waiting.pop(number, None)
                continue
            ids = [waiting.popleft() for _ in range(min(FETCH_BATCH, len(waiting)))]
            self._fetching[number] = ids
            self._context.actions.append(Fetch(number, ids))
            self._budget.debit(sum(self._size(envelope_id) for envelope_id in ids), now)

    def _size(self, envelope_id: bytes) -> int:
        entry = self._holdings.known.get(envelope_id)
        return entry.size if entry else 0

    def fetched(self, event: Fetched) -> None:
        """The store's answer for one link."""
        ids = self._fetching.pop(event.link, [])
        state = self._states.get(event.link)
        if state is None:
            self._waiting.pop(event.link, None)
            return
        missing = []
        for envelope_id in ids:
            raw = event.found.get(envelope_id)
            if raw is None:
                missing.append(envelope_id)
            else:
                self._push(state, 0, raw)
        self._miss(state, missing)
        state.fetching -= len(ids)
        if self._waiting.get(event.link):
            self._queue.append(event.link)
        else:
            self._waiting.pop(event.link, None)
        if not state.fetching:
            self._pong(state)
        self.tick()

    def may_pong(self, state: LinkGossip, nonce: int) -> bool:
        """Whether a PONG may go now; else it is kept until the link has its answers."""
        if not state.fetching:
            return True
        if len(state.pongs) < 16:
            state.pongs.append(nonce)
        return False

    def _pong(self, state: LinkGossip) -> None:
        for nonce in state.pongs:
            self._context.send(state.link, messages.Pong(nonce, 0, self._context.wall_ms))
        state.pongs.clear()

    def _push(self, state: LinkGossip, hops: int, raw: bytes) -> None:
        state.link.messages_out += 1
        self._context.actions.append(Send(state.link.number, messages.push_frame(hops, raw)))

    def _miss(self, state: LinkGossip, ids: list[bytes]) -> None:
        if ids:
            self._context.send(state.link, messages.Miss(b"".join(ids)))
