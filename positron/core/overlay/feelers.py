"""Once a minute a look beyond our links: somebody untested, somebody who was away, or a bootstrap anyway.

Rule: a feeler has nothing to do with the slots; what it finds is a fact for the address book, or a bridge to an island.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from math import inf

from positron.core.context import Context
from positron.core.overlay.attempts import BOOTSTRAP, FEELER, LOST, Attempt
from positron.core.overlay.bootstraps import Bootstraps
from positron.core.overlay.choice import Choice

FEELER_SECONDS = 60.0
BOOTSTRAP_ANYWAY = 0.05
"""How often the minute's feeler goes to an unlinked bootstrap: islands find each other there."""


class Feelers:
    """Owns when the next one goes, and to whom."""

    def __init__(
        self,
        context: Context,
        choice: Choice,
        bootstraps: Bootstraps,
        *,
        dialling: Container[str],
        dial: Callable[[Attempt], None],
    ) -> None:
        """`dialling` are the addresses that are being dialled; `dial` does so."""
        self._context = context
        self._choice = choice
        self._bootstraps = bootstraps
        self._dialling = dialling
        self._dial = dial
        self._at = inf

    def start(self) -> None:
        """The first one goes in half a minute, or in one and a half."""
        self._at = self._context.now + FEELER_SECONDS * (0.5 + self._context.rng.random())

    def tick(self, is_free: bool) -> float:
        """Send the one that is due, if a dial `is_free`; when the next one is."""
        now, rng = self._context.now, self._context.rng
        if now >= self._at:
            self._at = now + FEELER_SECONDS * (0.8 + 0.4 * rng.random())
            if is_free:
                self._send()
        return self._at

    def _send(self) -> None:
        rng = self._context.rng
        named = [item for item in self._bootstraps.unlinked() if item.address not in self._dialling]
        if named and rng.random() < BOOTSTRAP_ANYWAY:
            item = rng.choice(named)
            self._dial(Attempt(item.address, BOOTSTRAP, item.pinned))
            return
        away, untried = self._choice.away(), self._choice.untried()
        if away and (not untried or rng.random() < 0.5):
            entry = rng.choice(away)
            self._dial(Attempt(entry.address, LOST, entry.node_id))
        elif untried:
            entry = rng.choice(untried)
            self._dial(Attempt(entry.address, FEELER, entry.node_id))
