"""The identity's file: nobody else reads it at any time, and what is not as it should be is refused."""

from __future__ import annotations

import os
from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from positron.errors import IdentityError
from positron.store import keyfile
from positron.store.keyfile import Cost

SEED = bytes(range(32))
CHEAP = Cost(1, 64)
"""A test needs no protection from guessing."""


class KeyFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder, 0o700)
        self.path = os.path.join(self.folder, "identity.key")

    def refused(self, *arguments: object) -> str:
        """The sentence with which loading fails; it names the file."""
        with self.assertRaises(IdentityError) as caught:
            keyfile.load(self.path, *arguments)
        sentence = str(caught.exception)
        assert self.path in sentence
        assert "\n" not in sentence
        return sentence

    def write(self, content: bytes) -> None:
        with open(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)

    def read(self) -> bytes:
        with open(self.path, "rb") as file:
            return file.read()

    def test_plain(self) -> None:
        """What was created is loaded, and the id can be read alone."""
        created = keyfile.create(self.path, SEED)
        assert keyfile.load(self.path).seed == SEED
        assert keyfile.load(self.path).node_id == created.node_id == keyfile.node_id_of(self.path)

    def test_drawn_once(self) -> None:
        """The first call draws a key, the next ones load it; two files hold two keys."""
        first = keyfile.load_or_create(self.path)
        assert keyfile.load_or_create(self.path).seed == first.seed
        assert keyfile.load_or_create(self.path + "2").seed != first.seed

    def test_the_mode_from_the_first_moment(self) -> None:
        """0600 with umask 0, and under a temporary name, too: no wider mode is ever seen. Nothing else is left."""
        self.addCleanup(os.umask, os.umask(0))
        modes = []

        def watched(source: str, target: str) -> None:
            modes.append(os.stat(source).st_mode & 0o777)
            link(source, target)

        link = os.link
        self.patch(os, "link", watched)
        keyfile.create(self.path, SEED)
        assert modes == [0o600]
        assert os.stat(self.path).st_mode & 0o777 == 0o600
        assert os.listdir(self.folder) == ["identity.key"]

    def test_a_key_is_never_overwritten(self) -> None:
        """Creating where something is, a dangling link included, is refused and changes nothing."""
        keyfile.create(self.path, SEED)
        os.symlink("nowhere", self.path + "2")
        for path in (self.path, self.path + "2"):
            with self.assertRaises(IdentityError):
                keyfile.create(path, bytes(32))
        assert keyfile.load(self.path).seed == SEED
        assert sorted(os.listdir(self.folder)) == ["identity.key", "identity.key2"]

    def test_a_passphrase(self) -> None:
        """Closed with a passphrase the seed is not in the file, the id is; none or a wrong one is told apart."""
        keyfile.create(self.path, SEED, b"open sesame", CHEAP)
        assert SEED not in self.read()
        assert keyfile.load(self.path, b"open sesame").seed == SEED
        assert keyfile.node_id_of(self.path) == keyfile.load(self.path, b"open sesame").node_id
        assert "--passphrase-file" in self.refused()
        assert "does not open" in self.refused(b"open barley")

    def test_a_passphrase_nobody_needed(self) -> None:
        """Whoever names a passphrase believes the key to be closed; a plain file is refused."""
        keyfile.create(self.path, SEED)
        assert "not closed" in self.refused(b"open sesame")

    def test_changing_the_passphrase(self) -> None:
        """Plain, closed, closed otherwise, plain again: the same key, mode 0600, nothing left beside it."""
        keyfile.create(self.path, SEED)
        self.addCleanup(os.umask, os.umask(0))
        steps: list[bytes | None] = [None, b"one", b"two", None]
        for old, new in pairwise(steps):
            keyfile.change_passphrase(self.path, old, new, CHEAP)
            assert keyfile.load(self.path, new).seed == SEED
            assert os.stat(self.path).st_mode & 0o777 == 0o600
        assert os.listdir(self.folder) == ["identity.key"]
        with self.assertRaises(IdentityError):
            keyfile.change_passphrase(self.path, b"wrong", b"three", CHEAP)

    def test_wider_modes(self) -> None:
        """Any bit for group or others is refused, and the sentence says the command that helps."""
        keyfile.create(self.path, SEED)
        for mode in (0o640, 0o604, 0o601, 0o620, 0o666):
            os.chmod(self.path, mode)
            assert f"chmod 600 {self.path}" in self.refused()
        os.chmod(self.path, 0o400)
        assert keyfile.load(self.path).seed == SEED

    def test_a_foreign_owner(self) -> None:
        """A key of another user is refused."""
        keyfile.create(self.path, SEED)
        self.patch(os, "geteuid", lambda: os.stat(self.path).st_uid + 1)
        assert "another user" in self.refused()

    def test_what_is_no_file(self) -> None:
        """A link, a folder, a pipe and nothing at all are each refused, without waiting for anyone."""
        keyfile.create(self.path + ".real", SEED)
        os.symlink(self.path + ".real", self.path)
        assert "symbolic link" in self.refused()
        os.unlink(self.path)
        os.mkdir(self.path)
        assert "not a file" in self.refused()
        os.rmdir(self.path)
        os.mkfifo(self.path, 0o600)
        assert "not a file" in self.refused()
        os.unlink(self.path)
        assert "positron init" in self.refused()

    def test_damage(self) -> None:
        """Any one bit flipped, anything cut off or added, is refused; never another key, never a traceback."""
        for passphrase in (None, b"open sesame"):
            if os.path.exists(self.path):
                os.unlink(self.path)
            keyfile.create(self.path, SEED, passphrase, CHEAP)
            whole = self.read()
            for bit in range(0, len(whole) * 8, 3):
                torn = bytearray(whole)
                torn[bit // 8] ^= 1 << bit % 8
                self.write(bytes(torn))
                self.refused(passphrase)
            for content in (b"", whole[:9], whole[:-1], whole + b"x", b"x" * 5000):
                self.write(content)
                assert "damaged" in self.refused(passphrase)

    def test_parameters_are_judged_before_they_cost(self) -> None:
        """A file that asks for a terabyte or a million rounds is refused at once."""
        keyfile.create(self.path, SEED, b"x", CHEAP)
        whole = self.read()
        start = keyfile._HEADER.size
        for operations, memory in ((1 << 31, 64), (1, 1 << 31), (0, 64), (1, 0)):
            body = whole[:start] + keyfile._KDF.pack(
                operations, memory, *keyfile._KDF.unpack_from(whole, start)[2:]
            )
            body += whole[start + keyfile._KDF.size : -16]
            self.write(body + keyfile._checksum(body))
            assert "damaged" in self.refused(b"x")

    def test_a_later_form(self) -> None:
        """A file of a later version is refused as such, not as damaged."""
        keyfile.create(self.path, SEED)
        whole = bytearray(self.read())
        whole[8] = 2
        self.write(bytes(whole))
        assert "newer" in self.refused()

    def test_the_wrong_id_beside_the_right_key(self) -> None:
        """A sound file whose seed is not that of its id is refused."""
        keyfile.create(self.path, SEED)
        body = bytearray(self.read()[:-16])
        body[10] ^= 1
        self.write(bytes(body) + keyfile._checksum(bytes(body)))
        assert "damaged" in self.refused()

    def test_a_folder_that_is_not_there(self) -> None:
        """Creating says in a sentence that it cannot."""
        with self.assertRaises(IdentityError) as caught:
            keyfile.create("/nowhere/identity.key", SEED)
        assert "/nowhere/identity.key" in str(caught.exception)

    def test_the_default_cost(self) -> None:
        """The form that guards a real key opens again (libsodium's MODERATE), within what a reader accepts."""
        assert keyfile.MODERATE.operations <= keyfile.MOST.operations
        assert keyfile.MODERATE.memory <= keyfile.MOST.memory
        keyfile.create(self.path, SEED, b"x")
        assert keyfile.load(self.path, b"x").seed == SEED
