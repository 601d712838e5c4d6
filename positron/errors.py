"""Every exception positron raises, sorted by whose fault it is.

- `RemoteError`: a peer's fault. It never leaves the core: the link it came on is cut or the bytes are counted
  and dropped. An application never sees one.
- the caller's: raised at the call, or the errback of the Deferred the call returned.
- the operator's (`ConfigError`, `IdentityError`, `StoreError`): one sentence that says what to do; a command prints
  it and ends with exit code 2.

This module imports nothing, so that every layer may use it.
"""

from __future__ import annotations


class PositronError(Exception):
    """The root of everything positron raises on purpose.

    `code` is the word used for it in JSON replies, `hint` one line that says what to do.
    """

    code = "error"
    hint = ""


class RemoteError(PositronError):
    """A peer sent something it must not send. `str()` says what, without repeating the peer's bytes."""

    code = "remote"


class MessageError(RemoteError):
    """The bytes are not a message of the protocol, or break one of its limits."""


class EnvelopeError(RemoteError):
    """An envelope is refused; `reason` is one of the words of the wire (docs/protocol.rst)."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class NoPeers(PositronError):
    """Fewer links are up than the caller asked for."""

    code = "no_peers"
    hint = "wait with node.when_peers(n), or publish without min_peers: the message is kept and synced later"


class PayloadTooLarge(PositronError):
    """The encoded payload, or the topic, is over the protocol's limit (bytes)."""

    code = "payload_too_large"
    hint = "split the data, or send a reference to it"

    def __init__(self, limit: int, got: int) -> None:
        super().__init__(limit, got)  # as given, so that it can be copied and pickled
        self.limit = limit
        self.got = got

    def __str__(self) -> str:
        return f"{self.got} bytes are more than the {self.limit} that fit"


class NotRunning(PositronError):
    """The node is not started, or is stopping."""

    code = "not_running"
    hint = "start the node and wait for node.when_ready()"


class UnknownPeer(PositronError):
    """No peer of that id, or the prefix fits none or several."""

    code = "unknown_peer"
    hint = "list the peers with `positron peers`"


class DeliveryTimeout(PositronError):
    """A direct message was not acknowledged in time; it may still arrive until it expires."""

    code = "timeout"
    hint = "the recipient may be down, or not reachable from here"


class ClockSkew(PositronError):
    """This computer's clock is too far from its peers' for them to accept what it publishes."""

    code = "clock_skew"
    hint = "set the clock (NTP) and try again"


class ConfigError(PositronError):
    """An option is unknown or out of range; the sentence names it."""

    code = "config"
    hint = "see `positron config schema`"


class StoreError(PositronError):
    """The database cannot be used, or is not storing at present."""

    code = "store"
    hint = "check the free space and the permissions of the data directory"


class IdentityError(PositronError):
    """The key file cannot be used: its mode, its owner, its contents or its passphrase."""

    code = "identity"
    hint = "the key file must belong to the user of the node, with mode 0600"


class Refused(PositronError):
    """A peer, or this node's own rules, refused the request."""

    code = "refused"
    hint = "the log says why, here or at the peer that refused"
