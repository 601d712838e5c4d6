"""What pytest needs to know about a suite of trial TestCases."""

from __future__ import annotations

import os
import unittest
from collections.abc import Iterator

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run trial's TestCases before pytest-twisted starts a reactor that keeps running.

    A TestCase that waits for real time or I/O finds a dirty reactor otherwise.
    """
    items.sort(key=lambda item: not issubclass(getattr(item, "cls", None) or object, unittest.TestCase))


@pytest.fixture(scope="session", autouse=True)
def _in_a_folder_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run where trial would: `TestCase.mktemp` makes its files in the working directory."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("tests"))
    yield
    os.chdir(before)
