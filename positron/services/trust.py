"""The store's records and the operator's verdicts.

Rule: the core says what to keep and is never made to wait for it; what it asks of the store comes back as an event.
A verdict is an event like any other, so that it is judged, kept and told like everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail

from positron.core.events import (
    AddPeer,
    BanPeer,
    DropPeer,
    Event,
    Fetch,
    Fetched,
    ForgetPeer,
    PingPeer,
    Remember,
    SetTrust,
    Stored,
    StoreHealth,
)
from positron.core.records import TrustChange
from positron.core.statements import SCORE_SCALE
from positron.errors import NotRunning
from positron.services.waiting import Tokens
from positron.store import Store

MAX_TRUST_HISTORY = 32_768
"""Rows of the audit trail that one call may ask for."""


class TrustService(Service):
    """Performs `Remember` and `Fetch`; feeds `Fetched`, `Stored`, `StoreHealth` and the operator's verdicts."""

    def __init__(self, step: Callable[[Event], None], tokens: Tokens) -> None:
        self.storing = True
        self._step = step
        self._tokens = tokens
        self._store: Store | None = None

    def open(self, store: Store) -> None:
        """Records go to `store`, which is open, from now on."""
        self._store = store
        self.storing = True
        self.startService()

    def shut(self) -> None:
        """The store is about to close."""
        self._store = None
        if self.running:
            self.stopService()

    # ---------------------------------------------------------------------------------- what the core wants done

    def remember(self, action: Remember) -> None:
        """Perform `Remember`."""
        if self._store is not None:
            self._store.remember(action.record, action.mark)

    def fetch(self, action: Fetch) -> None:
        """Perform `Fetch`."""
        if self._store is not None:
            found = self._store.fetch(action.ids)
            found.addCallback(lambda envelopes: self._step(Fetched(action.link, envelopes)))

    def stored(self, mark: int) -> None:
        """The store has everything up to `mark`."""
        self._step(Stored(mark))

    def health(self, storing: bool) -> None:
        """Whether the store takes envelopes."""
        self.storing = storing
        self._step(StoreHealth(storing))

    # ------------------------------------------------------------------------------------ what the operator says

    def history(self, node_id: bytes, limit: int) -> Deferred[list[dict[str, Any]]]:
        """See `Node.trust_history`."""
        if not 0 <= limit <= MAX_TRUST_HISTORY:
            raise ValueError(f"limit is 0 to {MAX_TRUST_HISTORY}, not {limit}")
        if self._store is None:
            return fail(NotRunning("the node is not running"))
        return self._store.trust_history(node_id, limit).addCallback(_rows)

    def set_score(self, node_id: bytes, score: float) -> None:
        """See `Node.set_trust`."""
        if not 0.0 <= score <= 1.0:
            raise ValueError(f"a score is 0 to 1, not {score}")
        self._say(SetTrust(node_id, float(score)))

    def ban(self, node_id: bytes, seconds: float) -> None:
        """See `Node.ban_peer`."""
        if not 0.0 <= seconds < float("inf"):
            raise ValueError(f"a ban lasts 0 seconds or more, not {seconds}")
        self._say(BanPeer(node_id, float(seconds)))

    def forget(self, node_id: bytes) -> None:
        """See `Node.forget_peer`."""
        self._say(ForgetPeer(node_id))

    def drop(self, node_id: bytes) -> None:
        """See `Node.drop_peer`."""
        self._say(DropPeer(node_id))

    def add(self, address: str) -> None:
        """See `Node.add_peer`."""
        self._say(AddPeer(address))

    def ping(self, node_id: bytes) -> Deferred[float]:
        """See `Node.ping`."""
        if not self.running:
            return fail(NotRunning("the node is not running"))
        token, measured = self._tokens.ask(float)
        self._step(PingPeer(token, node_id))
        return measured

    def _say(self, event: Event) -> None:
        if not self.running:
            raise NotRunning("the node is not running")
        self._step(event)


def _rows(changes: list[TrustChange]) -> list[dict[str, Any]]:
    return [
        {
            "time": change.time,
            "cause": change.cause,
            "count": change.count,
            "delta": change.delta / SCORE_SCALE,
            "before": change.before / SCORE_SCALE,
            "after": change.after / SCORE_SCALE,
        }
        for change in changes
    ]
