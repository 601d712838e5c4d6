"""From the options to the core's parameters."""

import os

from twisted.trial.unittest import SynchronousTestCase

from positron.config import Config
from positron.core.context import Parameters
from positron.core.identity import to_text
from positron.core.limits import MIB, PROFILES, Rate
from positron.errors import ConfigError
from positron.node.parameters import limits_of, parameters_of, read_members, read_secrets
from positron.testing import MemoryNetwork
from tests.core.gossip_parts import context_of


class ParametersTests(SynchronousTestCase):
    def file(self, text):
        path = self.mktemp()
        with open(path, "w") as file:
            file.write(text)
        return os.path.abspath(path)

    def test_every_option_arrives(self):
        """Each option of the core's is the configuration's."""
        options = {
            "network": "lab",
            "discovery": False,
            "profile": "wan",
            "fanout": 4,
            "ttl": 7,
            "min_peers": 2,
            "max_peers": 9,
            "heartbeat_interval": 1.5,
            "sync_interval": 6.0,
            "retention": 3600.0,
            "quota": 7 * MIB,
            "trust_baseline": 0.6,
            "trust_gain": 0.002,
            "trust_penalty": 0.2,
            "trust_ban": 0.05,
        }
        parameters = parameters_of(Config(**options), port=99, reachable=("10.0.0.1:99",))
        self.assertEqual({key: getattr(parameters, key) for key in options}, options)
        self.assertEqual((parameters.port, parameters.advertise), (99, ("10.0.0.1:99",)))
        self.assertEqual((parameters.secrets, parameters.members), ((), None))

    def test_advertise(self):
        """What the operator advertises replaces what is bound."""
        config = Config(advertise=["example.org:1"])
        self.assertEqual(
            parameters_of(config, port=1, reachable=("10.0.0.1:1",)).advertise, ("example.org:1",)
        )

    def test_profiles(self):
        """Without options of their own, the limits are the profile's."""
        for name, limits in PROFILES.items():
            self.assertEqual(limits_of(Config(profile=name)), limits)

    def test_limits(self):
        """Each `limit_...` replaces its number and no other; the rest that follows from it follows."""
        config = Config(
            limit_envelopes="5/6", limit_handshakes="7/3", limit_inbound="2/4", limit_bytes="1MiB/2MiB"
        )
        limits = limits_of(config)
        self.assertEqual((limits.envelopes, limits.bytes), (Rate(5, 6), Rate(MIB, 2 * MIB)))
        self.assertEqual((limits.handshakes_all, limits.handshakes_all_burst), (7, 21))
        self.assertEqual((limits.inbound_address, limits.inbound_group), (2, 4))
        self.assertEqual(limits.author, PROFILES["lan"].author)

    def test_secrets_are_not_shown(self):
        """T39: what is logged of the parameters, by whoever logs them, shows no secret."""
        secret = b"sixteen bytes !!"
        self.assertNotIn(repr(secret), repr(Parameters(secrets=(secret,))))
        self.assertNotIn(repr(secret), repr(context_of(secrets=(secret,))))

    def test_secrets(self):
        """One or two lines of base32, in either case, with comments; nothing shorter than 128 bits."""
        one, two = "MFRGGZDFMZTWQ2LKNNWG23TPOA======", "mfrggzdfmztwq2lknnwg23tpob"
        self.assertEqual(read_secrets(None), ())
        self.assertEqual(
            read_secrets(self.file(f"# newest first\n{one}\n\n{two}\n")),
            (b"abcdefghijklmnop", b"abcdefghijklmnop"),
        )
        for text in ("", "short\n", "not base32!\n", f"{one}\n" * 3):
            with self.subTest(text=text):
                self.assertIn(
                    "secret_file", str(self.assertRaises(ConfigError, read_secrets, self.file(text)))
                )
        self.assertRaises(ConfigError, read_secrets, "/nonexistent")

    def test_members(self):
        """Node ids, one a line; no file means anybody, an empty one nobody."""
        ids = [MemoryNetwork.identity(name).node_id for name in "ab"]
        text = "".join(f"{to_text(each)}  # a member\n" for each in ids)
        self.assertEqual(read_members(self.file(text)), frozenset(ids))
        self.assertIsNone(read_members(None))
        self.assertEqual(read_members(self.file("")), frozenset())
        self.assertIn("members_file", str(self.assertRaises(ConfigError, read_members, self.file("x\n"))))
