"""HAVE in three speeds: at once to my sources, after 25 ms to six others, within a second to everybody else.

A HAVE also says "do not send it to me", so the ones to my sources spare their pushes. The later two are batches, and
may be dropped when a link's queue is full: anti-entropy says the same again later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import msgpack

from positron.core import messages
from positron.core.context import Context
from positron.core.events import ANNOUNCEMENT, Send
from positron.core.gossip.recents import Spread
from positron.core.gossip.state import LinkGossip

_HAVE = bytes((messages.HAVE_TAG,))
_ONE_ID = _HAVE + b"\x91\xc4\x10"
"""How the frame of a HAVE of one id begins: an array of one, a byte string of 16 bytes."""

BATCH_SECONDS, BATCH_SECONDS_SMALL = 0.025, 0.25
"""How long a batch waits; the second is of what others said, in a network so small that all comes from the authors
themselves. There it is for the case that one breaks down in the middle, and for each envelope it costs as much as a
push."""

BATCH_LINKS = 6
DIGEST_SECONDS = 1.0


class Announcer:
    """Owns the batches; the owner calls `tick` at `deadline`."""

    def __init__(
        self, context: Context, states: dict[int, LinkGossip], is_small: Callable[[], bool] = lambda: False
    ) -> None:
        """`is_small` says whether the network is so small that its authors reach nearly everybody themselves."""
        self._context = context
        self._states = states
        self._is_small = is_small
        self._batch: defaultdict[int, list[Spread]] = defaultdict(list)
        self._digest: list[Spread] = []
        self._batch_due = float("inf")
        self._digest_due = float("inf")
        self.deadline = float("inf")
        """When the next batch or digest is due."""

    def announce(self, spread: Spread, own: bool = False) -> None:
        """A new envelope is held: tell every link that has not shown it, each at its speed."""
        shown, told = spread.shown, spread.told
        envelope_id = spread.id
        frame = b""
        others: list[int] = []
        for number, state in self._states.items():
            if number in shown or number in told:
                continue
            if state.source:
                frame = frame or _frame_of([envelope_id])
                state.offer(envelope_id)
                told.add(number)
                self._context.actions.append(Send(number, frame))
            else:
                others.append(number)
        if not others:
            return
        now = self._context.now
        if len(others) > BATCH_LINKS:
            self._digest.append(spread)
            self._digest_due = min(self._digest_due, now + DIGEST_SECONDS)
            others = self._context.rng.sample(others, BATCH_LINKS)
        for number in others:
            self._batch[number].append(spread)
        wait = BATCH_SECONDS_SMALL if not own and self._is_small() else BATCH_SECONDS
        if self._batch_due > now + wait:
            self._batch_due = now + wait
            self.deadline = min(self._batch_due, self._digest_due)

    def tick(self) -> None:
        """Send what is due."""
        now = self._context.now
        if now >= self._batch_due:
            self._batch_due = float("inf")
            batch, self._batch = self._batch, defaultdict(list)
            for number, spreads in batch.items():
                if number in self._states:
                    self._flush(self._states[number], spreads)
        if now >= self._digest_due:
            self._digest_due = float("inf")
            digest, self._digest = self._digest, []
            for state in self._states.values():
                self._flush(state, digest)
        self.deadline = min(self._batch_due, self._digest_due)

    def _flush(self, state: LinkGossip, spreads: list[Spread]) -> None:
        """Tell one link of those that it has not shown, and remember that it may ask for them."""
        number = state.link.number
        fresh = []
        for spread in spreads:
            if number not in spread.shown and number not in spread.told:
                spread.told.add(number)
                state.offer(spread.id)
                fresh.append(spread.id)
        for start in range(0, len(fresh), messages.MAX_IDS):
            frame = _frame_of(fresh[start : start + messages.MAX_IDS])
            self._context.actions.append(Send(number, frame, ANNOUNCEMENT))


def _frame_of(ids: list[bytes]) -> bytes:
    """The frame of a HAVE, made without the message, as that of a PUSH: one goes out for each envelope."""
    return _HAVE + bytes(msgpack.packb((b"".join(ids),)))


def announced_ids(frame: bytes) -> list[bytes]:
    """The ids in the frame of a HAVE; `MessageError` as `messages.decode`. Most of all frames have a single one."""
    if len(frame) == 4 + messages.ID_SIZE and frame.startswith(_ONE_ID):
        return [frame[4:]]
    message = messages.decode(frame)
    assert isinstance(message, messages.Have)
    return split_ids(message.ids)


def split_ids(joined: bytes) -> list[bytes]:
    """The ids in a joined string of them."""
    return [joined[start : start + messages.ID_SIZE] for start in range(0, len(joined), messages.ID_SIZE)]
