"""Asking neighbours what they think of the peers they know, and saying what we think. Opinions are first-hand only,
signed by their author, and never passed on: there is exactly one hop (docs/design.rst, Figures)."""

from __future__ import annotations

from math import inf

from positron.core import messages
from positron.core.context import Context
from positron.core.limits import Bucket
from positron.core.links import Link
from positron.core.statements import read_trust_statement, sign_trust_statement
from positron.core.trust import Trust

FIRST_ASK = 30.0
ASK_EVERY = 600.0
"""Seconds from link-up to the first question, and between questions."""


class Vouching:
    """Owns the questions; the owner calls `tick` at `deadline`."""

    def __init__(self, context: Context, trust: Trust) -> None:
        self._context = context
        self._trust = trust
        self._ask_at: dict[int, float] = {}
        self._answers: dict[int, Bucket] = {}
        self._expecting: set[int] = set()
        self.deadline = inf
        """When `tick` is wanted: when the next neighbour is to be asked; it may be early, never late."""

    def link_up(self, link: Link) -> None:
        """Ask this neighbour, later: it knows nobody better than we do yet."""
        at = self._context.now + FIRST_ASK * (0.5 + self._context.rng.random())
        self._ask_at[link.number] = at
        self.deadline = min(self.deadline, at)
        self._answers[link.number] = Bucket(1 / 60, 2)

    def link_down(self, link: Link) -> None:
        """Forget the link."""
        self._ask_at.pop(link.number, None)
        self._answers.pop(link.number, None)
        self._expecting.discard(link.number)

    def tick(self) -> None:
        """Ask whose turn it is."""
        now = self._context.now
        for number, at in list(self._ask_at.items()):
            if at <= now:
                link = self._context.links.get(number)
                self._ask_at[number] = now + ASK_EVERY * (0.9 + 0.2 * self._context.rng.random())
                if link is not None:
                    self._expecting.add(number)
                    self._context.send(link, messages.VouchGet(), droppable=True)
        self.deadline = min(self._ask_at.values(), default=inf)

    def asked(self, link: Link) -> None:
        """A neighbour asks for our opinions; once a minute is enough."""
        if not self._answers[link.number].take(1, self._context.now):
            return
        statements = tuple(
            sign_trust_statement(
                self._context.me, self._context.network_id, about, score, self._context.wall_ms
            ).raw
            for about, score in self._trust.statements(self._context.wall, link.node_id)
        )
        self._context.send(link, messages.Vouch(statements), droppable=True)

    def heard(self, link: Link, message: messages.Vouch) -> None:
        """A neighbour's opinions: only answers count, each is verified as the neighbour's own.

        Raises `MessageError` for a statement that is not what the neighbour signed.
        """
        if link.number not in self._expecting:
            self._context.count("unasked_vouch")
            return
        self._expecting.discard(link.number)
        for raw in message.statements:
            statement = read_trust_statement(
                raw, link.node_id, self._context.network_id, self._context.verify
            )
            self._trust.hear(statement, link.group, self._context.wall)
