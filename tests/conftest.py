"""What pytest needs to know about a suite of trial TestCases."""

from __future__ import annotations

import unittest

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run trial's TestCases before pytest-twisted starts a reactor that keeps running.

    A TestCase that waits for real time or I/O finds a dirty reactor otherwise.
    """
    items.sort(key=lambda item: not issubclass(getattr(item, "cls", None) or object, unittest.TestCase))
