"""What a stranger may write into a message of a session: each lie by itself, and how little it is worth."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from positron.core.sync import MAX_MESSAGE, Index, Session, SyncError
from positron.errors import RemoteError

FLOOR, CEILING = 0, 1_000_000
HEADER = FLOOR.to_bytes(8, "big") + CEILING.to_bytes(8, "big")
SKIP, FINGERPRINT, LIST, HAVE = (mode << 5 for mode in range(4))


def varint(value: int) -> bytes:
    """A number as the format writes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def part(span: int, mode: int, content: bytes = b"", prefix: bytes = b"") -> bytes:
    """One range that ends `span` milliseconds after the one before it."""
    return varint(span) + bytes([mode | len(prefix)]) + prefix + content


def full(entries: int) -> Index:
    """An index of so many entries between the floor and the ceiling."""
    rng, index = Random(8), Index()
    for _ in range(entries):
        index.add(rng.randrange(CEILING), rng.randbytes(16))
    return index


class LieTests(SynchronousTestCase):
    def test_each_lie_is_a_peers_fault(self) -> None:
        """Whatever the format forbids raises SyncError, which is a RemoteError, before anything is answered."""
        lies = {
            "half a header": HEADER[:15],
            "floor at the ceiling": CEILING.to_bytes(8, "big") * 2,
            "ceiling beyond 2^63": bytes(8) + b"\xff" * 8,
            "a count of ids far beyond the message": HEADER + part(5, LIST, varint(1 << 40)),
            "the largest count": HEADER + part(5, HAVE, b"\xff" * 8 + b"\x7f"),
            "one id less than counted": HEADER + part(5, LIST, varint(2) + bytes(16)),
            "an endless number": HEADER + b"\xff" * 30,
            "half a fingerprint": HEADER + part(5, FINGERPRINT, bytes(15)),
            "an unknown mode": HEADER + part(5, 4 << 5, varint(0)),
            "a prefix longer than an id": HEADER + varint(5) + bytes([SKIP | 17]) + bytes(17),
            "an empty range": HEADER + part(0, SKIP),
            "the same bound twice": HEADER + part(5, SKIP) + part(0, SKIP),
            "a prefix that goes back": HEADER + part(5, SKIP, prefix=b"\x02") + part(0, SKIP, prefix=b"\x01"),
            "beyond the ceiling": HEADER + part(CEILING, SKIP, prefix=b"\x01"),
            "too many ranges": HEADER + part(1, SKIP) * 2_049,
            "too long": HEADER + part(5, LIST, varint(4096) + bytes(4096 * 16)),
        }
        self.assertTrue(issubclass(SyncError, RemoteError))
        for name, lie in lies.items():
            with self.subTest(name):
                self.assertRaises(SyncError, Session(full(20), CEILING).answer, lie)

    def test_the_format_at_its_limits_is_taken(self) -> None:
        """What is just allowed is no lie: so many ranges, a whole id as prefix, the ceiling as the last bound."""
        for message in (
            HEADER,
            HEADER + part(1, SKIP) * 2_048,
            HEADER + part(5, SKIP, prefix=b"\x01" * 16),
            HEADER + part(CEILING, FINGERPRINT, bytes(16)),
        ):
            Session(full(20), CEILING).answer(message)

    def test_no_answer_is_longer_than_a_message_may_be(self) -> None:
        """Few bytes that ask for everything, and many that differ everywhere, get one message at most."""
        index = full(20_000)
        step = CEILING // 2_000
        for question in (
            part(CEILING, LIST, varint(0)),
            part(CEILING, FINGERPRINT, bytes(16)),
            part(step, FINGERPRINT, bytes(16)) * 2_000,
            part(step, LIST, varint(0)) * 2_000,
        ):
            answer = Session(index, CEILING).answer(HEADER + question)
            assert answer.message
            self.assertLessEqual(len(answer.message), MAX_MESSAGE)
            self.assertLessEqual(len(answer.extra) * 16, MAX_MESSAGE)

    def test_invented_ids_are_noted_once_and_change_nothing(self) -> None:
        """A list of one id over and over is one id to ask for, and the index stays as it was."""
        index = full(20)
        answer = Session(index, CEILING).answer(
            HEADER + part(CEILING, LIST, varint(3_000) + b"x" * 16 * 3_000)
        )
        self.assertEqual(answer.lack, [b"x" * 16])
        self.assertEqual(len(index), 20)

    def test_a_floor_above_everything_ends_the_session(self) -> None:
        """Whoever names a window that holds nothing of ours learns nothing."""
        index = full(20)
        window = CEILING.to_bytes(8, "big") + (CEILING + 9).to_bytes(8, "big")
        answer = Session(index, CEILING).answer(window + part(9, LIST, varint(0)))
        self.assertEqual((answer.message, answer.lack, answer.extra), (b"", [], []))
