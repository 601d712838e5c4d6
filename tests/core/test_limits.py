"""Buckets hold what they promise at any clock, and the profiles are the design's table."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from positron.core.limits import MIB, PACE, PROFILES, Bucket, Rate

RATES = st.floats(0.01, 1e9)
TIMES = st.floats(0, 1e9)


class BucketTests(SynchronousTestCase):
    def test_is_full_at_first(self) -> None:
        """A new bucket gives its whole burst at once, at any time, and not one unit more."""
        bucket = Bucket(rate=1, burst=5)
        self.assertEqual([bucket.take(1, 1000.0) for _ in range(6)], [True] * 5 + [False])

    def test_refills_at_its_rate_up_to_its_burst(self) -> None:
        """Time buys `rate` units a second and never more than `burst`."""
        bucket = Bucket(rate=2, burst=5)
        self.assertTrue(bucket.take(5, 0.0))
        self.assertEqual(bucket.level(1.5), 3.0)
        self.assertEqual(bucket.level(100.0), 5.0)

    def test_a_refused_take_costs_nothing(self) -> None:
        """Asking for too much leaves what is there."""
        bucket = Bucket(rate=1, burst=5)
        self.assertFalse(bucket.take(6, 0.0))
        self.assertTrue(bucket.take(5, 0.0))

    def test_debt_is_paid_before_anything_is_given(self) -> None:
        """A debit may go below zero; nothing can be taken until time has paid it."""
        bucket = Bucket(rate=10, burst=10)
        bucket.debit(30, 0.0)
        self.assertEqual(bucket.level(0.0), -20.0)
        self.assertFalse(bucket.take(1, 2.0))
        self.assertTrue(bucket.take(1, 2.1))

    def test_wait_is_zero_when_something_is_there(self) -> None:
        """Nobody is told to wait for what is there."""
        self.assertEqual(Bucket(1, 5).wait(3.0), 0.0)

    def test_waiting_for_more_than_the_burst_waits_for_the_burst(self) -> None:
        """What can never be there is not waited for for ever."""
        bucket = Bucket(rate=1, burst=5)
        bucket.take(5, 0.0)
        self.assertAlmostEqual(bucket.wait(0.0, 1000.0), 5.0, places=4)

    def test_a_clock_that_goes_back_changes_nothing_and_does_not_stop_it(self) -> None:
        """A step back gives and takes nothing, and the bucket refills from there on."""
        bucket = Bucket(rate=1, burst=100)
        bucket.take(100, 1000.0)
        self.assertEqual(bucket.level(10.0), 0.0)
        self.assertEqual(bucket.level(20.0), 10.0)

    def test_nonsense_is_the_callers_fault(self) -> None:
        """Rates that are no positive finite numbers are refused where they are given."""
        for rate, burst in ((0, 1), (1, 0), (-1, 1), (float("nan"), 1), (1, float("inf"))):
            self.assertRaises(ValueError, Bucket, rate, burst)

    @given(RATES, RATES, st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1e6)), max_size=30))
    def test_never_gives_more_than_burst_and_refill(
        self, rate: float, burst: float, asks: list[tuple[float, float]]
    ) -> None:
        """Over any sequence of asks, what was given is at most the burst and what the time brought."""
        bucket, now, given_out = Bucket(rate, burst), 0.0, 0.0
        for step, amount in asks:
            now += step
            if bucket.take(amount, now):
                given_out += amount
            self.assertLessEqual(given_out, (burst + now * rate) * (1 + 1e-9))

    @given(RATES, st.floats(0.1, 1000), TIMES, st.floats(0, 10), st.floats(0, 1))
    def test_who_waited_is_not_sent_away(
        self, rate: float, seconds: float, now: float, debt: float, share: float
    ) -> None:
        """After `wait` seconds the level is above zero and the amount is there: no second deadline."""
        bucket = Bucket(rate, rate * seconds)
        amount = share * bucket.burst
        bucket.debit(bucket.burst * (1 + debt), now)
        later = now + bucket.wait(now, amount)
        self.assertEqual(bucket.wait(later, amount), 0.0)
        self.assertTrue(bucket.take(amount, later))


class ProfileTests(SynchronousTestCase):
    def test_the_table_of_the_design(self) -> None:
        """Each number of the design's table, profile by profile."""
        rows = {
            name: (
                limits.envelopes,
                limits.bytes,
                limits.author,
                limits.have,
                limits.history.rate,
                (limits.handshakes_all, limits.handshakes_address),
                (limits.half_open_all, limits.half_open_address),
                (limits.inbound_address, limits.inbound_group),
            )
            for name, limits in PROFILES.items()
        }
        self.assertEqual(
            rows,
            {
                "wan": (
                    (200, 800),
                    (2 * MIB, 8 * MIB),
                    (50, 200),
                    (2_000, 8_000),
                    4 * MIB,
                    (20, 2),
                    (64, 4),
                    (3, 10),
                ),
                "lan": (
                    (2_000, 8_000),
                    (32 * MIB, 64 * MIB),
                    (1_000, 4_000),
                    (20_000, 80_000),
                    32 * MIB,
                    (100, 20),
                    (128, 32),
                    (None, None),
                ),
                "local": (
                    (10_000, 40_000),
                    (128 * MIB, 256 * MIB),
                    (10_000, 40_000),
                    (100_000, 400_000),
                    128 * MIB,
                    (500, 500),
                    (256, 256),
                    (None, None),
                ),
            },
        )

    def test_an_operators_number_replaces_one_row_only(self) -> None:
        """`limit_handshakes = 40/4` is one `evolve` away, and its bursts follow."""
        mine = evolve(PROFILES["wan"], handshakes_all=40, handshakes_address=4)
        self.assertEqual((mine.handshakes_all_burst, mine.handshakes_address_burst), (120, 12))
        self.assertEqual(mine.envelopes, PROFILES["wan"].envelopes)

    def test_an_honest_sender_never_overruns_a_receiver(self) -> None:
        """A sender that uses all of its paced bucket stays within the receiver's."""
        rate = Rate(200, 800)
        sender, receiver = rate.paced(), rate.bucket()
        for turn in range(100):
            now = turn * 0.5
            while sender.take(1, now):
                self.assertTrue(receiver.take(1, now))
        self.assertEqual(sender.rate, 200 * PACE)
