"""When exchanges of sets are opened and given up: each is done at its deadline, however few others there are."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from positron.core import messages
from positron.core.anti_entropy import (
    AGAIN_SECONDS,
    BUSY_SECONDS,
    BYTES_BURST,
    MAX_SESSIONS,
    SESSION_BURST,
    SESSION_RATE,
    SESSION_SECONDS,
    AntiEntropy,
)
from positron.core.events import Send
from positron.core.links import Link
from positron.core.sync import Index, Session
from tests.core.gossip_parts import WALL, context_of, link_state, taken

RARELY = 100_000.0
"""No exchange is opened by chance in these tests: only what is under test sets the deadline."""


class DeadlineTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A node that holds nothing, and no links yet."""
        self.context = context_of(sync_interval=RARELY)
        self.lacking: list[bytes] = []
        self.ignored: set[int] = set()
        self.index = Index()
        self.sync = AntiEntropy(
            self.context,
            self.index,
            known=lambda _id: False,
            ignored=lambda link: link.number in self.ignored,
            lacking=self.lacks,
            offered=lambda _link, _ids: None,
        )
        self.links = [link_state(self.context, number).link for number in range(1, MAX_SESSIONS + 2)]

    def lacks(self, link: Link, ids: list[bytes]) -> bool:
        self.lacking.extend(ids)
        return link.number not in self.ignored

    def opened(self) -> list[int]:
        """The sessions that were opened since the last call."""
        return [sync.session for sync in taken(self.context, messages.Sync) if sync.round == 0]

    def wait(self, seconds: float) -> None:
        """Time passes; `tick` is called when the deadline says so, and not else."""
        until = self.context.now + seconds
        while self.sync.deadline <= until:
            self.context.now = max(self.context.now, self.sync.deadline)
            self.sync.tick()
        self.context.now = until

    def test_at_link_up(self) -> None:
        """Whoever dialled starts at once."""
        self.sync.link_up(self.links[0])
        self.assertEqual(self.sync.deadline, self.context.now)
        self.wait(0)
        self.assertEqual(self.opened(), [1])

    def test_given_up(self) -> None:
        """Sessions that nobody answers make room for others after 15 s: the fifth is opened then."""
        for link in self.links:
            self.sync.link_up(link)
        self.wait(SESSION_SECONDS - 0.001)
        self.assertEqual(self.opened(), [1, 2, 3, 4])
        self.wait(2 * BUSY_SECONDS)
        self.assertEqual(self.opened(), [5])
        self.wait(SESSION_SECONDS + 1)
        self.assertEqual(self.sync.deadline, RARELY)

    def test_one_given_up_by_itself(self) -> None:
        """An opened session that nobody answers has a deadline of its own."""
        self.sync.link_up(self.links[0])
        self.wait(1.0)
        self.assertEqual(self.sync.deadline, SESSION_SECONDS)

    def test_what_the_other_opened_is_given_up(self) -> None:
        """A session that a peer opened and left holds its place for 15 s as well."""
        link = self.links[0]
        link.outbound = False
        self.sync.link_up(link)
        theirs = Index()
        for number in range(100):
            theirs.add(WALL * 1000 - 5000, number.to_bytes(16, "big"))
        first = Session(theirs, WALL * 1000 - 1000).start()
        self.sync.received(link, messages.Sync(9, 0, first.message, False))
        self.assertEqual(self.sync.deadline, SESSION_SECONDS)

    def bring_news(self) -> None:
        """The first link shows an id that we lack, in a session that we open at link-up."""
        self.sync.link_up(self.links[0])
        self.wait(0)
        self.assertEqual(self.opened(), [1])
        theirs = Index()
        theirs.add(WALL * 1000 - 5000, bytes(16))
        ours = Session(Index(), WALL * 1000 - 1000).start()
        answer = Session(theirs, WALL * 1000 - 1000).answer(ours.message)
        self.sync.received(self.links[0], messages.Sync(1, 1, answer.message or b"", False))
        self.assertEqual(self.lacking, [bytes(16)])

    def test_again_after_news(self) -> None:
        """A second after a session that brought something the same link is asked again."""
        self.bring_news()
        self.wait(AGAIN_SECONDS - 0.001)
        self.assertEqual(self.opened(), [])
        self.wait(0.002)
        self.assertEqual(self.opened(), [2])

    def test_again_for_what_was_too_young(self) -> None:
        """Whoever holds something at link-up that the exchange leaves out asks again after a second, once."""
        self.index.add(WALL * 1000 - 100, bytes(16))
        self.sync.link_up(self.links[0])
        self.wait(0)
        self.sync.received(self.links[0], messages.Sync(self.opened()[0], 1, b"", False))
        self.wait(AGAIN_SECONDS + 0.001)
        (again,) = self.opened()
        self.sync.received(self.links[0], messages.Sync(again, 1, b"", False))
        self.wait(60)
        self.assertEqual(self.opened(), [])

    def test_not_again_for_what_nobody_asks_for(self) -> None:
        """A link that is ignored shows what it will not give: that is no news, nor a reason to go on."""
        self.ignored = {1}
        self.bring_news()
        self.wait(60)
        self.assertEqual(self.opened(), [])

    def test_agreement(self) -> None:
        """It is noted when a link had nothing that we lack; not while it is busy, nor if it showed something."""
        for answer, busy, agrees in ((b"", False, True), (b"", True, False)):
            link = self.links.pop()
            self.sync.link_up(link)
            self.wait(0)
            (session,) = self.opened()
            self.sync.received(link, messages.Sync(session, 1, answer, busy))
            self.assertEqual(link.agreed_at == self.context.now, agrees)
        self.sync.link_down(link)
        self.sync.link_up(self.links[0])
        self.wait(0)
        self.assertEqual(self.links[0].agreed_at, float("-inf"), "it has not answered yet")

    def test_what_is_shown_is_no_agreement(self) -> None:
        """Whether it is asked for or not."""
        self.ignored = {1}
        self.bring_news()
        self.assertEqual(self.links[0].agreed_at, float("-inf"))

    def test_ignored_links_come_last(self) -> None:
        """By chance only others are asked, as long as there is one."""
        for link in self.links:
            link.outbound = False
            self.sync.link_up(link)
        self.ignored = {1, 2, 3, 4}
        for _ in range(20):
            self.wait(1.2 * RARELY)
            numbers = [send.link for send in self.context.actions if isinstance(send, Send)]
            self.assertEqual(set(numbers), {5})
            self.context.actions.clear()
        self.ignored.add(5)
        self.wait(1.2 * RARELY)
        self.assertEqual(len(self.opened()), 1)

    def test_again_after_busy(self) -> None:
        """Who is busy is asked again one to three seconds later."""
        self.sync.link_up(self.links[0])
        self.wait(0)
        self.opened()
        self.sync.received(self.links[0], messages.Sync(1, 1, b"", True))
        self.wait(BUSY_SECONDS * 0.5 - 0.001)
        self.assertEqual(self.opened(), [])
        self.wait(BUSY_SECONDS + 0.002)
        self.assertEqual(self.opened(), [2])

    def answers(self, link: Link, exchanges: int, message: bytes) -> list[bool]:
        """What a link is told that opens so many exchanges at once, each ended at once: busy or not."""
        busy = []
        for number in range(exchanges):
            self.sync.received(link, messages.Sync(1000 + number, 0, message))
            busy += [sync.busy for sync in taken(self.context, messages.Sync)]
            self.sync.received(link, messages.Sync(1000 + number, 2, b""))
        return busy

    def test_exchanges_of_a_link_are_paced(self) -> None:
        """T19: a link opens four at once, then one in two seconds; it is told that we are busy beyond."""
        link = self.links[0]
        self.sync.link_up(link)
        self.index.add(WALL * 1000 - 5000, bytes(16))
        message = Session(Index(), WALL * 1000).start().message or b""
        self.context.actions.clear()
        self.assertEqual(self.answers(link, 6, message), [False] * SESSION_BURST + [True] * 2)
        self.context.now += 1 / SESSION_RATE
        self.assertEqual(self.answers(link, 2, message), [False, True])

    def test_bytes_of_a_link_are_paced(self) -> None:
        """T19: nor does it open any while what it said lately is more than it may say."""
        link = self.links[0]
        self.sync.link_up(link)
        message = Session(Index(), WALL * 1000).start().message or b""
        for _ in range(BYTES_BURST // len(message) + 1):
            self.sync.received(link, messages.Sync(1, 4, message))
        self.context.actions.clear()
        self.assertEqual(self.answers(link, 1, message), [True])
        self.context.now += 1
        self.assertEqual(self.answers(link, 1, message), [False])

    def hold(self, link: Link, number: int) -> bool:
        """The link opens a session that it will never go on with; whether it is told that we are busy."""
        theirs = Index()
        for place in range(20):
            theirs.add(WALL * 1000 - 5000, bytes([number, place]) * 8)
        self.index.add(WALL * 1000 - 6000, bytes(16))
        message = Session(theirs, WALL * 1000).start().message or b""
        self.context.actions.clear()
        self.sync.received(link, messages.Sync(number, 0, message))
        (answer,) = taken(self.context, messages.Sync)
        return answer.busy

    def test_a_link_that_holds_sessions(self) -> None:
        """T29: a link has one session at once, and all others together leave a place for ours."""
        for link in self.links:
            self.sync.link_up(link)
        self.wait(3 * SESSION_SECONDS)  # what we opened ourselves is over
        self.context.actions.clear()
        self.assertEqual([self.hold(self.links[0], number) for number in range(1, 5)], [False] * 4)
        self.assertEqual([self.hold(link, 5) for link in self.links[1:4]], [False, False, True])
        self.sync.link_up(self.links[4])
        self.context.actions.clear()
        self.sync.tick()
        self.assertEqual(len(self.opened()), 1)
