"""A file of real bytes beside the database, to be given up when the disk is truly full: then even DELETE fails.

Rule: it is made only while there is plenty of room, and never by writing the disk full itself.
"""

from __future__ import annotations

import os

SIZE = 2 * 1024 * 1024
"""Bytes. 1 to 4 MiB with deletes of at most 50 rows work; 512 KiB did not (docs/design.rst, Figures)."""

PLENTY = 8 * SIZE
"""Bytes that must be free before it is made."""


class Reserve:
    """The file at `path`. Blocks on the disk: for the store's own thread."""

    def __init__(self, path: str) -> None:
        self._path = path

    def fill(self) -> None:
        """Make it, if it is not there and there is plenty of room."""
        if os.path.exists(self._path) or self._free() < PLENTY:
            return
        try:
            with open(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(os.urandom(SIZE))  # zeros take no room where a file system compresses
        except OSError:
            self.give_up()  # half a reserve is none

    def is_roomy(self) -> bool:
        """Whether more is free than giving it up frees."""
        return self._free() > SIZE + SIZE // 2

    def _free(self) -> int:
        found = os.statvfs(os.path.dirname(os.path.abspath(self._path)))
        return found.f_bavail * found.f_frsize

    def give_up(self) -> None:
        """Free its bytes."""
        try:
            os.unlink(self._path)
        except OSError:
            pass  # not there, or a disk that refuses everything: there is nothing left to give
