"""Holding back a link that is over one of its budgets: it is not read for a while. Nothing is lost by it."""

from __future__ import annotations

from collections.abc import Callable

from positron.core.context import Context
from positron.core.events import Pause, Resume
from positron.core.gossip.state import LinkGossip
from positron.core.limits import CONTROL_MESSAGES
from positron.core.links import Link
from positron.core.messages import ID_SIZE, Miss, Want

LISTS = (Want.TAG, Miss.TAG)
"""Each of their ids is looked up."""

IDS_SIZE = 64 * ID_SIZE
"""So many bytes of them are the work of a message."""


class Budgets:
    """Pauses and resumes links. The owner calls `tick` at `deadline`."""

    def __init__(
        self, context: Context, states: dict[int, LinkGossip], resumed: Callable[[Link], None]
    ) -> None:
        """`resumed` is told of each link that is read again: its silence while paused says nothing about it."""
        self._context = context
        self._states = states
        self._resumed = resumed
        self._paused: dict[int, float] = {}
        self.deadline = float("inf")
        """When the next link may be read again; it may be early, never late."""

    def control(self, state: LinkGossip, frame: bytes) -> None:
        """The link brought a message that no other budget counts: it costs no less than its work is worth in bytes.

        `charge` counts its size, so this does the rest.
        """
        least = state.bytes_in.rate / CONTROL_MESSAGES
        if frame[0] in LISTS:
            least *= 1 + len(frame) // IDS_SIZE
        if len(frame) < least:
            state.bytes_in.debit(least - len(frame), self._context.now)

    def charge(self, state: LinkGossip, size: int) -> None:
        """The link brought `size` bytes; pause it if it is over any of its budgets."""
        now = self._context.now
        state.bytes_in.debit(size, now)
        if (
            state.bytes_in.left > 0
            and state.envelopes.left > 0
            and state.author.left > 0
            and state.have.left > 0
        ):
            return
        wait = max(bucket.wait(now) for bucket in (state.bytes_in, state.envelopes, state.author, state.have))
        if wait > 0.0 and not state.link.paused:
            self._context.count("paused")
            state.link.paused = True
            self._paused[state.link.number] = now + wait
            self.deadline = min(self.deadline, now + wait)
            self._context.actions.append(Pause(state.link.number))

    def tick(self) -> None:
        """Read again what has waited long enough."""
        now = self._context.now
        for number in [number for number, until in self._paused.items() if until <= now]:
            del self._paused[number]
            state = self._states.get(number)
            if state is not None:
                state.link.paused = False
                self._resumed(state.link)
                self._context.actions.append(Resume(number))
        self.deadline = min(self._paused.values(), default=float("inf"))

    def link_down(self, link: Link) -> None:
        """Forget the link."""
        self._paused.pop(link.number, None)
