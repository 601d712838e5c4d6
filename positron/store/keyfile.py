"""The identity's own file: the seed of the key pair, plain or closed with a passphrase. Never in the database.

Rule: no other user can read it at any time, and a file that is not as it should be is refused, never mended. Every
refusal is an `IdentityError` with one sentence that says what to do.

    "POSITRON" | version u8 | kdf u8 | node id 32 | secret | BLAKE2b-128 of all before it

With kdf 0 the secret is the seed. With kdf 1 (argon2id) it is: operations u32, memory in KiB u32, salt 16, nonce 24,
secretbox 48. The checksum tells a damaged file from a wrong passphrase; the node id stands in the open so that it can
be shown without the passphrase.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from nacl import exceptions, pwhash, secret, utils

from positron.core.identity import NODE_ID_SIZE, SEED_SIZE, Identity, to_text
from positron.errors import IdentityError

MAGIC = b"POSITRON"
VERSION = 1
PLAIN, ARGON2ID = 0, 1

_HEADER = struct.Struct(f">8sBB{NODE_ID_SIZE}s")
_KDF = struct.Struct(">II16s24s")
_CHECKSUM_SIZE = 16
_BOX_SIZE = SEED_SIZE + secret.SecretBox.MACBYTES
_PLAIN_SIZE = _HEADER.size + SEED_SIZE + _CHECKSUM_SIZE
_CLOSED_SIZE = _HEADER.size + _KDF.size + _BOX_SIZE + _CHECKSUM_SIZE

KIB = 1024


class Cost(NamedTuple):
    """What one guess at a passphrase costs: argon2id's operations, and memory in KiB."""

    operations: int
    memory: int


MODERATE = Cost(3, 256 * KIB)
"""libsodium's MODERATE: 0.4 s and 256 MiB (docs/design.rst, Figures)."""

MOST = Cost(16, 1024 * KIB)
"""More than this a file cannot ask of us: the parameters are read before anything in it is believed."""


def load(path: str, passphrase: bytes | None = None, uid: int | None = None) -> Identity:
    """The identity in the file at `path`. Raises `IdentityError`. Blocks for 0.4 s with a passphrase.

    `uid` is whom the file has to belong to, if not to us.
    """
    raw = _read(path, uid)
    kdf, node_id = _parse(path, raw)
    if kdf == PLAIN:
        if passphrase is not None:
            raise IdentityError(f"{path} is not closed with a passphrase: leave --passphrase-file out")
        seed = raw[_HEADER.size : -_CHECKSUM_SIZE]
    elif passphrase is None:
        raise IdentityError(f"{path} is closed with a passphrase: name its file with --passphrase-file")
    else:
        seed = _open_box(path, raw[_HEADER.size : -_CHECKSUM_SIZE], passphrase)
    identity = Identity(seed)
    if identity.node_id != node_id:
        raise _damaged(path)
    return identity


def node_id_of(path: str) -> bytes:
    """The node id that the file at `path` names, without opening the secret. Raises `IdentityError`."""
    return _parse(path, _read(path))[1]


def create(path: str, seed: bytes, passphrase: bytes | None = None, cost: Cost = MODERATE) -> Identity:
    """Write `seed` to a new file at `path`, closed with `passphrase` if one is given.

    The file has mode 0600 from its first moment, whatever the umask, and is whole and synced when it appears under
    its name. Raises `IdentityError`, also if there is a file already.
    """
    identity = Identity(seed)
    _place(path, _encode(identity, passphrase, cost), os.link)
    return identity


def load_or_create(path: str, passphrase: bytes | None = None) -> Identity:
    """The identity in the file at `path`; a new one, drawn by the operating system, if there is no file."""
    if not os.path.lexists(path):
        return create(path, os.urandom(SEED_SIZE), passphrase)
    return load(path, passphrase)


def change_passphrase(path: str, old: bytes | None, new: bytes | None, cost: Cost = MODERATE) -> Identity:
    """Write the file anew, closed with `new` (None: plain). It is the old one or the new one at any moment."""
    identity = load(path, old)
    _place(path, _encode(identity, new, cost), os.replace)
    return identity


def replace(
    path: str, seed: bytes, passphrase: bytes | None = None, cost: Cost = MODERATE
) -> tuple[Identity, str]:
    """Write `seed` into the file at `path`, closed as the old one was; the old one stays beside it, named after its id.

    The new identity, and where the old one is. `path` is the old file or the new one at any moment. `IdentityError`,
    and nothing is changed, if `passphrase` does not open the old one or either cannot be written.
    """
    kept = f"{path}.{to_text(load(path, passphrase).node_id)[:8]}"
    identity = Identity(seed)
    try:
        os.link(path, kept, follow_symlinks=False)
    except FileExistsError as error:
        raise IdentityError(f"{kept} is already there: a key file is never overwritten") from error
    except OSError as error:
        raise IdentityError(f"cannot keep the old key as {kept}: {error.strerror}") from error
    try:
        _place(path, _encode(identity, passphrase, cost), os.replace)
    except BaseException:
        os.unlink(kept)
        raise
    return identity, kept


# ------------------------------------------------------------------------------------------------------ the bytes


def _encode(identity: Identity, passphrase: bytes | None, cost: Cost) -> bytes:
    if passphrase is None:
        body = _HEADER.pack(MAGIC, VERSION, PLAIN, identity.node_id) + identity.seed
    else:
        salt = utils.random(pwhash.argon2id.SALTBYTES)
        nonce = utils.random(secret.SecretBox.NONCE_SIZE)
        box = secret.SecretBox(_derive(passphrase, salt, cost)).encrypt(identity.seed, nonce).ciphertext
        header = _HEADER.pack(MAGIC, VERSION, ARGON2ID, identity.node_id)
        body = header + _KDF.pack(cost.operations, cost.memory, salt, nonce) + box
    return body + _checksum(body)


def _parse(path: str, raw: bytes) -> tuple[int, bytes]:
    """The kdf and the node id of a file whose outside is sound."""
    if len(raw) < _HEADER.size or not raw.startswith(MAGIC):
        raise _damaged(path)
    _, version, kdf, node_id = _HEADER.unpack_from(raw)
    if version > VERSION:
        raise IdentityError(f"{path} was written by a newer positron: use that one")
    size = {PLAIN: _PLAIN_SIZE, ARGON2ID: _CLOSED_SIZE}.get(kdf)
    if len(raw) != size or raw[-_CHECKSUM_SIZE:] != _checksum(raw[:-_CHECKSUM_SIZE]):
        raise _damaged(path)
    return kdf, node_id


def _open_box(path: str, closed: bytes, passphrase: bytes) -> bytes:
    operations, memory, salt, nonce = _KDF.unpack_from(closed)
    if not (1 <= operations <= MOST.operations and 8 <= memory <= MOST.memory):
        raise _damaged(path)
    key = _derive(passphrase, salt, Cost(operations, memory))
    try:
        return bytes(secret.SecretBox(key).decrypt(closed[_KDF.size :], nonce))
    except exceptions.CryptoError as error:
        raise IdentityError(f"the passphrase does not open {path}: check --passphrase-file") from error


def _derive(passphrase: bytes, salt: bytes, cost: Cost) -> bytes:
    try:
        return bytes(
            pwhash.argon2id.kdf(
                secret.SecretBox.KEY_SIZE,
                passphrase,
                salt,
                opslimit=cost.operations,
                memlimit=cost.memory * KIB,
            )
        )
    except (MemoryError, exceptions.RuntimeError) as error:
        raise IdentityError(
            f"the passphrase needs {cost.memory // KIB} MiB of memory for a moment, and they are not there"
        ) from error


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM_SIZE).digest()


def _damaged(path: str) -> IdentityError:
    return IdentityError(
        f"{path} is damaged or not a key file: restore it from a backup, or move it away to get a new identity"
    )


# ------------------------------------------------------------------------------------------------------- the file


def _read(path: str, uid: int | None = None) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise IdentityError(f"there is no key file {path}: make one with `positron init`") from error
    except OSError as error:
        if os.path.islink(path):
            raise IdentityError(f"{path} is a symbolic link: name the file itself") from error
        raise IdentityError(f"cannot read the key file {path}: {error.strerror}") from error
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise IdentityError(f"{path} is not a file: name the key file with --identity-file")
        if found.st_uid != (os.geteuid() if uid is None else uid):
            raise IdentityError(f"{path} belongs to another user: chown it to the user of the node")
        if found.st_mode & 0o077:
            raise IdentityError(f"{path} is open to other users: chmod 600 {path}")
        return os.read(file, _CLOSED_SIZE + 1)
    finally:
        os.close(file)


def _place(path: str, content: bytes, put: Callable[[str, str], None]) -> None:
    """Write `content` beside `path` and `put` it there when it is whole and synced."""
    folder = os.path.dirname(os.path.abspath(path))
    partial = f"{path}.{os.urandom(4).hex()}"
    try:
        file = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(file, "wb") as writer:
                writer.write(content)
                writer.flush()
                os.fsync(writer.fileno())
            put(partial, path)
        finally:
            with suppress(FileNotFoundError):  # it is in its place
                os.unlink(partial)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except FileExistsError as error:
        raise IdentityError(f"{path} is already there: a key file is never overwritten") from error
    except OSError as error:
        raise IdentityError(f"cannot write the key file {path}: {error.strerror}") from error
