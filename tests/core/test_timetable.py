"""When each of many keys is due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from positron.core.timetable import Timetable

KEYS = st.sampled_from("abcde")
NEVER = float("inf")


class TimetableTests(SynchronousTestCase):
    def test_in_order_of_time(self) -> None:
        """What is due comes out by its time, then as it was put in; the rest stays."""
        table: Timetable[str] = Timetable()
        for key, due in (("z", 1.0), ("a", 1.0), ("b", 0.5), ("c", 2.0)):
            table.put(key, due)
        self.assertEqual(table.take(1.0), ["b", "z", "a"])
        self.assertEqual((table.deadline, len(table)), (2.0, 1))
        self.assertEqual(table.take(NEVER), ["c"])
        self.assertEqual((table.deadline, table.take(NEVER)), (NEVER, []))

    @given(st.lists(st.tuples(st.sampled_from(("put", "discard", "take")), KEYS, st.integers(0, 9))))
    def test_as_a_dict(self, steps: list[tuple[str, str, int]]) -> None:
        """It says what a dict of times would, however times are changed, taken back and put in again."""
        table: Timetable[str] = Timetable()
        times: dict[str, int] = {}
        for step, key, number in steps:
            if step == "put":
                table.put(key, number)
                times[key] = number
            elif step == "discard":
                table.discard(key)
                times.pop(key, None)
            else:
                due = {each for each, time in times.items() if time <= number}
                taken = table.take(number)
                self.assertEqual((set(taken), len(taken)), (due, len(due)))
                for each in due:
                    del times[each]
            self.assertEqual(len(table), len(times))
            self.assertEqual(table.deadline, min(times.values(), default=NEVER))
