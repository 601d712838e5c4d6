"""What `import positron` promises."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

import positron
from positron.errors import PositronError

PROMISED = {
    "ClockSkew",
    "ClockSkewed",
    "Config",
    "ConfigError",
    "DeliveryTimeout",
    "Gap",
    "IdentityError",
    "Lagged",
    "Message",
    "NoPeers",
    "Node",
    "NotRunning",
    "PayloadTooLarge",
    "PeerDown",
    "PeerUp",
    "PositronError",
    "Ready",
    "Receipt",
    "Recovered",
    "Refused",
    "StoreError",
    "TrustChanged",
    "UnknownPeer",
    "__version__",
}


class ExportTests(SynchronousTestCase):
    def test_promised_names(self) -> None:
        """The promise is exactly this list: removing or adding a name is a decision, not an accident."""
        self.assertEqual(set(positron.__all__), PROMISED)

    def test_names_resolve(self) -> None:
        """Each name is what it says, and dir() shows it before it is used."""
        for name in PROMISED - {"__version__"}:
            self.assertEqual(getattr(positron, name).__name__, name)
            self.assertIn(name, dir(positron))

    def test_unknown_name(self) -> None:
        """A name that does not exist is an AttributeError, as anywhere."""
        error = self.assertRaises(AttributeError, lambda: positron.Nodes)
        self.assertIn("Nodes", str(error))

    def test_version(self) -> None:
        """The version has three numbers."""
        self.assertTrue(re.fullmatch(r"\d+\.\d+\.\d+", positron.__version__))

    def test_errors_have_one_root(self) -> None:
        """One except clause catches whatever positron raises on purpose."""
        for name in (
            "NoPeers",
            "PayloadTooLarge",
            "NotRunning",
            "UnknownPeer",
            "DeliveryTimeout",
            "ClockSkew",
        ):
            self.assertTrue(issubclass(getattr(positron, name), PositronError))
        for name in ("ConfigError", "StoreError", "IdentityError"):
            self.assertTrue(issubclass(getattr(positron, name), PositronError))
