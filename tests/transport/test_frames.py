"""Frames in every split, refused lengths, and what is dropped first from a full send queue."""

from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from positron.transport.frames import EMPTY, MAX_FRAME, OVERSIZE, FrameReader, pack_length
from positron.transport.send_queue import (
    ANNOUNCEMENT,
    CONTROL,
    CONTROL_LIMIT,
    PAYLOAD,
    QUEUE_LIMIT,
    SendQueue,
)


def wire(*frames):
    """Frames as they go over the wire."""
    return b"".join(pack_length(len(frame)) + frame for frame in frames)


def feed(reader, pieces):
    """All frames that come of these pieces."""
    return [frame for piece in pieces for frame in reader.feed(piece)]


class FrameReaderTests(SynchronousTestCase):
    def test_every_split_in_two(self):
        """Wherever the bytes are cut, the same frames come out and nothing is held in the end."""
        frames = [b"\x01", b"\x02body", b"\x03" * 300]
        data = wire(*frames)
        for cut in range(len(data) + 1):
            reader = FrameReader()
            self.assertEqual(feed(reader, [data[:cut], data[cut:]]), frames)
            self.assertFalse(reader.partial)

    def test_byte_by_byte(self):
        """A frame that drips is the same frame, and is held as partial until its last byte."""
        reader = FrameReader()
        data = wire(b"\x07slowly")
        for value in data[:-1]:
            self.assertEqual(reader.feed(bytes([value])), [])
            self.assertTrue(reader.partial)
        self.assertEqual(reader.feed(data[-1:]), [b"\x07slowly"])
        self.assertFalse(reader.partial)

    @settings(deadline=None, max_examples=150)
    @given(
        st.lists(st.binary(min_size=1, max_size=400), max_size=12),
        st.lists(st.integers(0, 3000), max_size=12),
        st.booleans(),
    )
    def test_any_split(self, frames, cuts, held):
        """Any frames in any pieces, fed or held for later, come out whole and in order."""
        data = wire(*frames)
        edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        reader = FrameReader()
        got = []
        for index, (start, stop) in enumerate(pairwise(edges)):
            if held and index % 2:
                reader.hold(data[start:stop])
            else:
                got += reader.feed(data[start:stop])
        got += reader.feed(b"")
        self.assertEqual(got, frames)

    def test_largest(self):
        """A frame of exactly the limit passes."""
        frame = bytes(MAX_FRAME)
        self.assertEqual(FrameReader().feed(wire(frame)), [frame])

    def test_oversize_is_refused_on_the_fourth_byte(self):
        """The length alone is enough to refuse; frames before it still count, nothing after it does."""
        reader = FrameReader()
        data = wire(b"\x01fine") + pack_length(MAX_FRAME + 1)
        self.assertEqual(reader.feed(data[:-1]), [b"\x01fine"])
        self.assertIsNone(reader.fault)
        self.assertEqual(reader.feed(data[-1:]), [])
        self.assertEqual(reader.fault, OVERSIZE)
        self.assertEqual(reader.feed(wire(b"\x01more")), [])

    def test_the_price_of_dripping(self):
        """The largest frame in single bytes costs what its bytes cost, not their square: what is held is taken once."""
        taken = 0

        class Held(bytearray):
            def clear(self) -> None:
                nonlocal taken
                taken += 1
                super().clear()

        reader = FrameReader()
        reader.feed(pack_length(MAX_FRAME))
        reader.partial = Held(reader.partial)
        for _ in range(MAX_FRAME):
            frames = reader.feed(b"\x01")
        self.assertEqual(frames, [b"\x01" * MAX_FRAME])
        self.assertEqual(taken, 1)

    def test_all_ones(self):
        """The largest length there is reserves nothing."""
        reader = FrameReader()
        self.assertEqual(reader.feed(b"\xff\xff\xff\xff"), [])
        self.assertEqual(reader.fault, OVERSIZE)
        self.assertFalse(reader.partial)

    def test_empty_frame(self):
        """A frame without a tag is none."""
        reader = FrameReader()
        self.assertEqual(reader.feed(wire(b"\x01") + bytes(4)), [b"\x01"])
        self.assertEqual(reader.fault, EMPTY)

    def test_any_bytes_are_frames_or_a_fault(self):
        """Random bytes in random pieces never raise."""
        random = Random(7)
        for _ in range(300):
            reader = FrameReader()
            for _ in range(random.randrange(20)):
                reader.feed(random.randbytes(random.randrange(40)))


class SendQueueTests(SynchronousTestCase):
    def fill(self, queue, kind, size, frame=bytes(996)):
        """Add frames of 1,000 bytes on the wire."""
        for _ in range(size // 1000):
            self.assertTrue(queue.add(frame, kind))

    def test_order_and_size(self):
        """What is taken is what was added, in order, with lengths; `size` counts wire bytes."""
        queue = SendQueue()
        frames = [b"\x01a", b"\x02bb", b"\x03ccc"]
        for frame in frames:
            queue.add(frame, CONTROL)
        self.assertEqual(queue.size, len(wire(*frames)))
        self.assertEqual(queue.take(8), wire(*frames[:2]))
        self.assertEqual(queue.take(8), wire(frames[2]))
        self.assertEqual((queue.size, queue.take(8)), (0, b""))

    def test_announcements_make_room(self):
        """A payload that does not fit sends the announcements away, not other payloads."""
        queue = SendQueue()
        self.fill(queue, ANNOUNCEMENT, 500_000)
        self.fill(queue, PAYLOAD, 500_000)
        self.assertTrue(queue.add(b"\x05" * 100_000, PAYLOAD))
        self.assertEqual(queue.dropped, 500)
        self.assertEqual(queue.size, 600_004)

    def test_a_late_announcement_is_dropped_itself(self):
        """With a full queue of payloads a new announcement, and a new payload, are what is dropped."""
        queue = SendQueue()
        self.fill(queue, PAYLOAD, QUEUE_LIMIT)
        size = queue.size
        self.assertTrue(queue.add(bytes(996), ANNOUNCEMENT))
        self.assertTrue(queue.add(bytes(996), PAYLOAD))
        self.assertEqual((queue.size, queue.dropped), (size, 2))

    def test_control_is_never_dropped(self):
        """Control sends announcements, then payloads away, and stays in order."""
        queue = SendQueue()
        queue.add(b"\x01first", CONTROL)
        self.fill(queue, ANNOUNCEMENT, 300_000)
        self.fill(queue, PAYLOAD, 700_000)
        self.fill(queue, CONTROL, 900_000, b"\x09" * 996)
        self.assertEqual(queue.dropped, 1000)
        self.assertTrue(queue.take(1).endswith(b"\x01first"))
        taken = queue.take(10_000_000)
        self.assertEqual(taken, wire(*[b"\x09" * 996] * 900))

    def test_control_drops_no_more_than_it_must(self):
        """T30: what control sends away first are announcements; payloads go only where that is not room enough."""
        for kinds in ((ANNOUNCEMENT, PAYLOAD), (PAYLOAD, ANNOUNCEMENT)):
            queue = SendQueue()
            for kind in kinds:
                self.fill(queue, kind, 500_000, bytes([kind]) * 996)
            self.assertTrue(queue.add(b"\x09" * 100_000, CONTROL))
            self.assertEqual(queue.dropped, 500)
            self.assertEqual(
                queue.take(10_000_000), wire(*[bytes([PAYLOAD]) * 996] * 500, b"\x09" * 100_000), kinds
            )

    def test_control_past_its_bound(self):
        """A queue of nothing but control says when it is past saving."""
        queue = SendQueue()
        self.fill(queue, CONTROL, CONTROL_LIMIT)
        self.assertFalse(queue.add(bytes(996), CONTROL))

    def test_bounded_whatever_comes(self):
        """Ten times the bound of mixed droppable frames leaves at most the bound."""
        queue = SendQueue()
        random = Random(3)
        for _ in range(4000):
            queue.add(bytes(random.randrange(1, 6000)), random.choice((ANNOUNCEMENT, PAYLOAD, True)))
            self.assertLessEqual(queue.size, QUEUE_LIMIT)
        size = queue.size
        self.assertEqual((len(queue.take(10**9)), queue.size), (size, 0))
        queue.add(b"\x01", CONTROL)
        queue.clear()
        self.assertEqual((queue.size, queue.take(8)), (0, b""))
