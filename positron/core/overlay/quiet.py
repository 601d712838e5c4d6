"""When nobody says anything new: is nobody speaking, or does nobody let it through to us?

Of half the network turning silent at once, one node in two hundred is left with liars alone on all its links, and
nothing about them tells that from an idle network. So it asks strangers: two nodes of the address book at a time are
linked for a moment and their sets compared, as with any new link. If both agree with us, nobody is speaking. If one
brings what none of our links brought, it stays, as a bridge.

Rule: nothing that a stranger says costs another link its place. Bridges stand beside the slots, two at most, and a
third takes the place of one of them; else an attacker that speaks whenever others pause would gain slot after slot.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from positron.core.context import Context
from positron.core.links import UP, Link

SHORTEST, LONGEST = 3.0, 60.0
"""A pause is quiet after this long. Then it is twice as long as the pause was, or as it was itself if a stranger ended
the pause; so a network that speaks once in a while is not asked whether it does, and one question a minute is the most
that strangers can bring about, as feelers are."""

CALMER = 0.9
"""What becomes of that patience while there is news."""

PROBES = 2
"""Strangers asked at a time, and how many must agree."""

PROBE_SECONDS = 1.0
"""A stranger that neither agreed nor brought anything this long after its link was up does not answer."""

PACE_SECONDS = 1.5
FAST_ROUNDS = 8
"""Rounds at that pace; later ones are twice as far apart each, up to a minute."""

MAX_BRIDGES = 2


class Quiet:
    """Asks strangers in a quiet; the owner calls `tick` at `deadline`, and `news` for each envelope that is new."""

    def __init__(self, context: Context, *, probe: Callable[[], bool], end: Callable[[Link], None]) -> None:
        """`probe` dials a stranger beside the slots if it may (its link has `probe` set); `end` ends a link."""
        self._context = context
        self._probe = probe
        self._end = end
        self._patience = SHORTEST
        self._latest = -inf
        self._rounds = 0
        self._agreed = 0
        self._ask_at = -inf
        self._bridges: list[Link] = []
        self.deadline = inf
        """When `tick` is wanted; it may be early, never late."""

    def news(self, link: Link) -> None:
        """This link was the first to bring an envelope. Until the first one ever there is no quiet."""
        now = self._context.now
        if self._latest == now and not self._rounds:
            return  # another one of the same chunk
        if self._rounds:
            pause = self._patience if link.probe else now - self._latest
            self._patience = min(LONGEST, 2 * pause)
            self._rounds = self._agreed = 0
            self._ask_at = -inf
        self._latest = now
        self.deadline = min(self.deadline, now + self._patience)

    def tick(self) -> None:
        """Judge the strangers that were asked; ask others if it is still quiet."""
        now = self._context.now
        judge_at = now + PACE_SECONDS if self._judge() else inf
        if now < self._latest + self._patience:
            self._patience = max(SHORTEST, self._patience * CALMER)
            due = self._latest + self._patience
        elif self._agreed >= PROBES:
            due = inf
        else:
            if now >= self._ask_at:
                self._ask()
                judge_at = now + PACE_SECONDS
            due = self._ask_at
        self.deadline = min(due, judge_at)

    def _ask(self) -> None:
        self._rounds += 1
        asked = [self._probe() for _ in range(PROBES - self._agreed)]
        if self._agreed and not any(asked):
            self._agreed = PROBES  # whoever else there is, we are linked to
        wait = PACE_SECONDS * 2.0 ** min(max(0, self._rounds - FAST_ROUNDS), 10)
        self._ask_at = self._context.now + min(LONGEST, wait)

    def _judge(self) -> bool:
        """Keep who brought something, let go who had the time for it. Whether one has time left."""
        waits = False
        for link in [link for link in self._context.links if link.probe]:
            if link.last_useful > link.up_since:
                self._keep(link)
            elif self._context.now < link.up_since + PROBE_SECONDS:
                waits = True
            else:
                self._agreed += link.agreed_at >= link.up_since
                self._end(link)
        return waits

    def _keep(self, link: Link) -> None:
        link.probe = False
        bridges = [bridge for bridge in self._bridges if bridge.state == UP]
        if len(bridges) >= MAX_BRIDGES:
            least = min(bridges, key=lambda bridge: bridge.last_useful)
            bridges.remove(least)
            self._end(least)
        self._bridges = [*bridges, link]
