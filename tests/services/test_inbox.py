"""What came in and waits for its turn."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from positron.core.envelope import Sealer
from positron.core.messages import PUSH_TAG
from positron.services.inbox import FRAME, LOW_FRAMES, MAX_FRAMES, MAX_LINK, MAX_SIZE, TURN, Inbox
from positron.services.lanes import Lanes
from tests.services.test_lanes import HeldThreads

FRAME_SIZE = 512 - FRAME
"""So that a turn has room for exactly this many frames of it:"""
A_TURN = TURN // 512


class Link:
    """The part of a connection that an inbox uses."""

    def __init__(self):
        self.paused = set()
        self.reasons = []

    def pause(self, by):
        self.paused.add(by)

    def resume(self, by):
        self.paused.remove(by)

    def hang_up(self, reason, abort):
        self.reasons.append(reason)


class Turns(Clock):
    """Time stands still; what a turn asks for is done in the next, as by a reactor."""

    def turn(self):
        due, self.calls = self.calls, []
        for call in due:
            call.called = 1
            call.func(*call.args)


class InboxTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Turns()
        self.given = []
        self.give = lambda connection, frames: self.given.append((connection, frames))
        self.inbox = Inbox(self.clock, lambda *given: self.give(*given), Lanes(Sealer(bytes(32)), None))
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))
        self.addCleanup(self.inbox.close)

    def frames(self, count, tag=1, size=FRAME_SIZE):
        return [bytes([tag, 0]) + n.to_bytes(4, "big") + bytes(size - 6) for n in range(count)]

    def of(self, link):
        """All that was given of a link."""
        return [frame for connection, frames in self.given if connection is link for frame in frames]

    def turns(self, most=10_000):
        """Turns until nothing is left to do."""
        count = 0
        while self.clock.getDelayedCalls():
            self.clock.turn()
            count += 1
            self.assertLess(count, most)
        return count

    def test_little(self):
        """What is little is given where it comes, together, and no turn is begun for it."""
        link = Link()
        self.inbox.add(link, frames := self.frames(4))
        self.assertEqual(self.given, [(link, frames)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_much(self):
        """A turn gives what it has room for; the rest follows in the next ones, in order."""
        link = Link()
        self.inbox.add(link, frames := self.frames(5 * A_TURN))
        for turn in range(1, 6):
            self.assertEqual(len(self.of(link)), turn * A_TURN)
            self.clock.turn()
        self.assertEqual(self.of(link), frames)

    def test_many_links(self):
        """All links together have the room of one turn."""
        links = [Link() for _ in range(100)]
        for link in links:
            self.inbox.add(link, self.frames(4))
        self.assertEqual(len(self.given), A_TURN // 4)
        self.turns()
        self.assertEqual([len(self.of(link)) for link in links], [4] * 100)

    def test_behind_what_waits(self):
        """What comes later, however little, waits behind what waits of its link."""
        link = Link()
        self.inbox.add(link, frames := self.frames(2 * A_TURN))
        self.inbox.add(link, last := self.frames(1, tag=2))
        self.turns()
        self.assertEqual(self.of(link), frames + last)

    def test_links_in_order(self):
        """Frames are given in the order in which they came, whatever link they are of."""
        links = [Link(), Link(), Link()]
        came = []
        for count, link in zip((100, 4, 60, 1, 70), (*links, links[0], links[1]), strict=True):
            self.inbox.add(link, frames := self.frames(count))
            came += [(link, frame) for frame in frames]
        self.turns()
        self.assertEqual([(link, frame) for link, frames in self.given for frame in frames], came)

    def test_large_frames(self):
        """Bytes are work, too: of the largest frames a turn gives one."""
        link = Link()
        self.inbox.add(link, self.frames(3, size=60_000))
        for turn in (1, 2, 3):
            self.assertEqual(len(self.of(link)), turn)
            self.clock.turn()
        self.turns()

    def test_too_many_of_a_link(self):
        """A link of which over 256 frames wait is not read until 64 do; others are."""
        link, other = Link(), Link()
        self.inbox.add(link, self.frames(MAX_FRAMES))
        self.assertFalse(link.paused)
        self.inbox.add(link, self.frames(A_TURN + 1))
        self.inbox.add(other, self.frames(1))
        self.assertTrue(link.paused)
        self.assertFalse(other.paused)
        while link.paused:
            self.assertGreater(MAX_FRAMES + A_TURN + 1 - len(self.of(link)), LOW_FRAMES)
            self.clock.turn()
        self.assertLessEqual(MAX_FRAMES + A_TURN + 1 - len(self.of(link)), LOW_FRAMES)
        self.turns()

    def test_too_many_bytes_of_a_link(self):
        """The same with over a MiB of few frames."""
        link = Link()
        self.inbox.add(link, self.frames(40, size=MAX_LINK // 35))
        self.assertTrue(link.paused)
        self.turns()
        self.assertFalse(link.paused)

    def test_too_many_bytes_in_all(self):
        """Over 8 MiB in all nothing more is read of whoever brings it, until 4 MiB are gone."""
        links = [Link() for _ in range(12)]
        for link in links:
            self.inbox.add(link, self.frames(15, size=60_000))
        # The first frame was given at once.
        full = [link for index, link in enumerate(links) if ((index + 1) * 15 - 1) * 60_000 > MAX_SIZE]
        self.assertEqual([link for link in links if link.paused], full)
        self.assertEqual(len(full), 3)
        self.turns()
        self.assertEqual([link for link in links if link.paused], [])
        self.assertEqual(sum(len(self.of(link)) for link in links), 12 * 15)

    def test_room_by_a_link_that_ends(self):
        """Whoever was not read because others filled the inbox is read again when those are gone."""
        links = [Link() for _ in range(12)]
        for link in links:
            self.inbox.add(link, self.frames(15, size=60_000))
        last = links[-1]
        self.assertTrue(last.paused)
        for link in links:
            self.inbox.drop(link)
            if link is links[-2]:
                break
        self.turns()
        self.assertFalse(last.paused)
        self.assertEqual(len(self.of(last)), 15)

    def test_room_while_lanes_are_busy(self):
        """The same where all that waits is in lanes, and no turn is to come."""
        threads = HeldThreads(100)
        self.inbox = Inbox(self.clock, lambda *given: self.give(*given), Lanes(Sealer(bytes(32)), threads))
        self.addCleanup(self.inbox.close)
        others, last = [Link() for _ in range(11)], Link()
        for number, link in enumerate(others):
            self.inbox.add(link, self.frames(15, tag=PUSH_TAG, size=60_000 + number))
        self.inbox.add(last, self.frames(10, tag=PUSH_TAG, size=20_000))
        self.turns()
        self.assertTrue(last.paused)
        for link in others:
            self.inbox.drop(link)
        self.turns()
        self.assertFalse(last.paused)

    def test_end(self):
        """A link that is gone: what waits of it is given at once, and no other link's."""
        link, other = Link(), Link()
        self.inbox.add(link, frames := self.frames(200))
        self.inbox.add(other, self.frames(200))
        self.inbox.end(link)
        self.assertEqual(self.of(link), frames)
        self.assertEqual(self.of(other), [])
        self.inbox.end(Link())
        self.turns()

    def test_drop(self):
        """What is dropped is not given, also from within."""
        link = Link()
        self.inbox.add(link, self.frames(200))
        self.inbox.drop(link)
        self.turns()
        self.assertEqual(len(self.of(link)), A_TURN)
        dropping = Link()
        self.give = lambda connection, frames: (
            self.inbox.drop(connection) or self.given.append((connection, frames))
        )
        self.inbox.add(dropping, self.frames(200))
        self.turns()
        self.assertEqual(len(self.of(dropping)), A_TURN)

    def test_close(self):
        """After the end nothing is given, and no call is left."""
        link = Link()
        self.inbox.add(link, self.frames(200))
        self.inbox.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.of(link)), A_TURN)

    def test_a_mistake_of_ours(self):
        """An exception while handling what waited is logged, ends that link, and no other has to wait for it."""
        bad, good = Link(), Link()

        def give(connection, frames):
            if connection is bad:
                raise ZeroDivisionError
            self.given.append((connection, frames))

        self.give = give
        self.inbox.add(bad, self.frames(40))
        self.inbox.add(good, self.frames(40))
        self.turns()
        self.assertEqual(len(self.of(good)), 40)
        self.assertIn("internal error", bad.reasons)
        self.assertGreater(len(self.flushLoggedErrors(ZeroDivisionError)), 0)
