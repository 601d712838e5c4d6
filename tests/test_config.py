"""Options: ranges, texts, precedence, and that nothing drifts from what is declared once."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from positron.config import (
    OPTIONS,
    PROFILES,
    Config,
    Inbound,
    Rate,
    Share,
    default_data_dir,
    load,
    make_runtime_dir,
    runtime_dir,
    split_address,
)
from positron.config.render import as_native, as_text, options_table, schema, to_json, to_toml
from positron.core.addresses import parse_bootstrap
from positron.errors import ConfigError

ROOT = Path(__file__).parent.parent
NODE_ID = "a" * 51 + "q"

# For each option with a range: values just inside, and values just outside, as a person types them.
RANGES = {
    "network": (["a", "x" * 64, "Zürich lab"], ["", "x" * 65, "a\nb", "\x1b[31m", "ü" * 33]),
    "host": (["0.0.0.0", "::1", "[::]"], [""]),
    "port": (["0", "65535"], ["-1", "65536", "8888.0", "http", "", "٣"]),
    "listen": (["tcp:8888", "tcp6:1:interface=\\:\\:"], ["8888", "tcp", "tcp:"]),
    "advertise": (
        ["example.org:1", "[2001:db8::1]:65535"],
        ["example.org", "a:0", "a:65536", f"{NODE_ID}@a:1"],
    ),
    "bootstrap": (
        ["a:1", "[::1]:2", f"{NODE_ID}@a:3"],
        ["a", ":1", "::1:2", "x@a:1", "a b:1", "A" * 52 + "@a:1"],
    ),
    "discovery": (["true", "FALSE", "on", "off", "1", "0", "yes", "no"], ["2", "maybe", ""]),
    "profile": (["wan", "lan", "local"], ["LAN", "world", ""]),
    "fanout": (["1", "12"], ["0", "13", "three"]),
    "ttl": (["1", "64"], ["0", "65"]),
    "min_peers": (["0", "50"], ["-1", "1001"]),
    "max_peers": (["2", "1000"], ["1", "1001"]),
    "heartbeat_interval": (["0.1", "60s", "1m"], ["0.09", "61", "2 parsecs", "-1"]),
    "sync_interval": (["0.1s", "1h"], ["0", "3601", "1.5h"]),
    "retention": (["1", "90s", "5m", "24h", "7d"], ["0", "8d", "1w", "1e3", "nan"]),
    "quota": (["1MiB", "1048576", "512GiB", "1.5 MiB"], ["1048575", "1023KiB", "1MB", "513GiB", "lots"]),
    "trust_baseline": (["0.2", "1"], ["-0.1", "1.1", "nan", "inf", "half"]),
    "trust_gain": (["0", "1"], ["-0.001", "1.001"]),
    "trust_penalty": (["0", "1"], ["-0.001", "1.001"]),
    "trust_ban": (["0", "0.49"], ["-0.1", "1.1", "0.5"]),
    "http": (["off", "0", "65535"], ["-1", "65536", "on"]),
    "http_host": (["127.0.0.1", "localhost"], [""]),
    "log_level": (["debug", "info", "warn", "warning", "error", "critical"], ["loud", "INFO"]),
    "log_format": (["text", "json"], ["xml"]),
    "limit_envelopes": (["200/800", "0.1", "5"], ["0/1", "800/200", "1/2/3", "a/b", "/"]),
    "limit_bytes": (["2/8", "2MiB/8MiB", "4KiB/4KiB"], ["100B", "8/2", "17GiB"]),
    "limit_author": (["50/200"], ["0", "2/1"]),
    "limit_have": (["2000/8000"], ["0", "2/1"]),
    "limit_history": (["4", "4MiB", "4/8"], ["1B", "8/4"]),
    "limit_handshakes": (["20/2", "5"], ["0/1", "1/0", "1.5/1"]),
    "limit_half_open": (["64/4"], ["0/1", "1/0"]),
    "limit_inbound": (["3/10", "max/max", "max", "3/max"], ["0/1", "1001/1", "most"]),
}
PATHS = {
    "data_dir",
    "identity_file",
    "passphrase_file",
    "secret_file",
    "members_file",
    "control_socket",
    "log_file",
}


class RangeTests(SynchronousTestCase):
    def test_every_option_is_tested(self) -> None:
        """No option is without its line above."""
        self.assertEqual(set(RANGES) | PATHS, set(OPTIONS))

    def test_inside(self) -> None:
        """Every value at the edge of its range is accepted, as text, and shown as text that reads back the same."""
        for key, (inside, _) in RANGES.items():
            for text in inside:
                config = Config(**{key: text})
                value = getattr(config, key)
                shown = OPTIONS[key].kind.show(value)
                self.assertEqual(getattr(Config(**{key: shown}), key), value, f"{key}={text}")

    def test_outside(self) -> None:
        """Every value beyond its range is a ConfigError of one line that begins with the key."""
        for key, (_, outside) in RANGES.items():
            for text in outside:
                value: object = [text] if OPTIONS[key].many else text
                error = self.assertRaises(ConfigError, Config, **{key: value})
                self.assertTrue(str(error).startswith(f"{key}: "), f"{key}={text!r}: {error}")
                self.assertNotIn("\n", str(error))

    def test_wrong_types(self) -> None:
        """A value of another type is refused, never converted in silence."""
        wrong = {"port": True, "network": 5, "discovery": 1, "retention": True, "fanout": 3.0}
        for key, value in wrong.items():
            self.assertRaises(ConfigError, Config, **{key: value})
        self.assertRaises(ConfigError, Config, bootstrap=5)
        self.assertRaises(ConfigError, Config, data_dir=b"bytes")
        self.assertRaises(ConfigError, Config, limit_bytes=("2MiB",) * 3)

    def test_unknown_name(self) -> None:
        """An unknown name is refused with the nearest valid one."""
        error = self.assertRaises(ConfigError, Config, bootsrap=["a:1"])
        self.assertEqual(str(error), "unknown option 'bootsrap'; did you mean bootstrap?")

    def test_nearest_word(self) -> None:
        """A choice misspelt is answered with the nearest word."""
        error = self.assertRaises(ConfigError, Config, profile="locale")
        self.assertIn("did you mean local?", str(error))

    def test_positional(self) -> None:
        """Values are given by name only, so that options can be added."""
        self.assertRaises(TypeError, Config, "lab")


class ConfigTests(SynchronousTestCase):
    def test_program(self) -> None:
        """The form of the documentation works, and means memory and a fresh key."""
        config = Config(network="lab", port=8888, bootstrap=["seed.example:8888"], data_dir=None)
        self.assertEqual(config.bootstrap, ("seed.example:8888",))
        paths = (config.identity_path, config.control_path, config.database_path, config.lock_path)
        self.assertEqual(paths, (None, None, None, None))

    def test_frozen_value(self) -> None:
        """A configuration is a value: equal if its options are, hashable, and never changed."""
        self.assertEqual(Config(retention="24h"), Config(retention=86400))
        self.assertEqual(hash(Config()), hash(Config()))
        with self.assertRaises(AttributeError):
            Config().port = 1  # type: ignore[misc]

    def test_defaults(self) -> None:
        """The defaults are those of the design."""
        config = Config()
        self.assertEqual((config.network, config.host, config.port), ("positron", "0.0.0.0", 8888))
        self.assertEqual((config.fanout, config.ttl, config.min_peers, config.max_peers), (3, 16, 5, 50))
        self.assertEqual((config.heartbeat_interval, config.sync_interval), (2.0, 5.0))
        self.assertEqual((config.retention, config.quota), (86400.0, 100 * 2**20))
        self.assertEqual(
            (config.trust_baseline, config.trust_gain, config.trust_penalty, config.trust_ban),
            (0.5, 0.001, 0.1, 0.1),
        )
        self.assertEqual((config.profile, config.http, config.http_host), ("lan", None, "127.0.0.1"))
        self.assertEqual((config.log_level, config.log_format, config.discovery), ("info", "text", True))

    def test_profiles(self) -> None:
        """Each profile's limits are those of the design's table."""
        mib = 2**20
        wan, lan, local = (Config(profile=name) for name in PROFILES)
        self.assertEqual(
            [c.limit_envelopes for c in (wan, lan, local)],
            [Rate(200, 800), Rate(2000, 8000), Rate(10000, 40000)],
        )
        self.assertEqual(
            [c.limit_bytes for c in (wan, lan, local)],
            [Rate(2 * mib, 8 * mib), Rate(32 * mib, 64 * mib), Rate(128 * mib, 256 * mib)],
        )
        self.assertEqual([c.limit_history.rate for c in (wan, lan, local)], [4 * mib, 32 * mib, 128 * mib])
        self.assertEqual(
            [c.limit_handshakes for c in (wan, lan, local)], [Share(20, 2), Share(100, 20), Share(500, 500)]
        )
        self.assertEqual(
            [c.limit_half_open for c in (wan, lan, local)], [Share(64, 4), Share(128, 32), Share(256, 256)]
        )
        self.assertEqual(
            [c.limit_inbound for c in (wan, lan, local)], [Inbound(3, 10), Inbound(50, 50), Inbound(50, 50)]
        )

    def test_own_limit_in_a_profile(self) -> None:
        """A limit that was set stays what it was set to, whatever the profile; the others are the profile's."""
        config = Config(profile="wan", limit_author="7/9")
        self.assertEqual((config.limit_author, config.limit_have), (Rate(7, 9), Rate(2000, 8000)))

    def test_units_of_pairs(self) -> None:
        """Without a unit the numbers of a byte limit are MiB, as in the design's table; a tuple holds bytes."""
        self.assertEqual(Config(limit_bytes="2/8"), Config(limit_bytes="2MiB/8MiB"))
        self.assertEqual(Config(limit_bytes=Rate(4096, 8192)).limit_bytes, Rate(4096, 8192))
        self.assertEqual(Config(limit_history="4").limit_history, Rate(4 * 2**20, 4 * 2**20))

    def test_contradictions(self) -> None:
        """Options that cannot be meant together are refused, and the default follows where nothing was said."""
        self.assertEqual(Config(max_peers=3).min_peers, 3)
        self.assertEqual(Config(max_peers=3).limit_inbound, Inbound(3, 3))
        self.assertRaises(ConfigError, Config, max_peers=3, min_peers=4)
        self.assertRaises(ConfigError, Config, trust_ban=0.5, trust_baseline=0.5)
        self.assertRaises(ConfigError, Config, passphrase_file="/x")

    def test_endpoints(self) -> None:
        """What to listen on comes from host and port, colons quoted, unless listen says it."""
        self.assertEqual(Config().endpoints, ("tcp:8888:interface=0.0.0.0",))
        self.assertEqual(Config(host="[::1]", port=1).endpoints, ("tcp:1:interface=\\:\\:1",))
        self.assertEqual(Config(listen=["tcp:1", "unix:/x"]).endpoints, ("tcp:1", "unix:/x"))

    def test_places_inside_the_data_folder(self) -> None:
        """Key, control socket, database and lock are in the data folder, unless they were named."""
        config = Config(data_dir="/d", identity_file="/k")
        self.assertEqual((config.identity_path, config.control_path), ("/k", "/d/control.sock"))
        self.assertEqual((config.lock_path, config.database_path), ("/d/lock", "/d/positron.db"))

    def test_split_address(self) -> None:
        """An address comes apart into pin, host and port."""
        self.assertEqual(split_address(f"{NODE_ID}@[::1]:5"), (NODE_ID, "::1", 5))
        self.assertEqual(split_address("seed.example:8888"), (None, "seed.example", 8888))

    def test_bootstrap_is_what_a_node_can_read(self) -> None:
        """An address that an option takes is one to the node as well, and one that it does not take is none."""
        hosts = (
            "seed.example seed. a_b -a a- a..b 1.2.3.4 1.2.3.4. 1.2.3 01.2.3.4 a.5 [::1] [1:2] [1.2.3.4] ::1"
        )
        hosts += (
            " [fe80::1%eth0] [fe80::1%] [::ffff:1.2.3.4] \u00fcn\u00ef.example " + "a" * 253 + " " + "a" * 254
        )
        texts = [f"{host}:1" for host in hosts.split()] + ["a:0", "a:65535", "a:65536", "a", ":1"]
        texts += [f"{pin}@a:1" for pin in (NODE_ID, "a" * 52, "a" * 51 + "b", "a" * 51 + "q", "a" * 51, "")]
        for text in texts:
            try:
                parse_bootstrap(text)
            except ValueError:
                self.assertRaises(ConfigError, Config, bootstrap=[text])
            else:
                self.assertEqual(Config(bootstrap=[text]).bootstrap, (text,))


class LoadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.environ = {"XDG_DATA_HOME": str(self.folder / "share")}

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def test_precedence(self) -> None:
        """Flag over environment over file over the data folder's file over profile over default, with each origin."""
        data = str(self.folder / "data")
        file = self.write("c.toml", f'data_dir = "{data}"\nfanout = 6\nttl = 6\nprofile = "wan"\nport = 6\n')
        beside = self.write(
            "data/positron.toml", 'fanout = 5\nttl = 5\nmax_peers = 5\nport = 5\nlog_level = "warn"\n'
        )
        environ = {**self.environ, "POSITRON_FANOUT": "7", "POSITRON_PORT": "7"}
        loaded = load({"port": "8"}, environ, file)
        config, origins = loaded.config, loaded.origins
        self.assertEqual((config.port, origins["port"]), (8, "flag --port"))
        self.assertEqual((config.fanout, origins["fanout"]), (7, "environment POSITRON_FANOUT"))
        self.assertEqual((config.ttl, origins["ttl"]), (6, file))
        self.assertEqual((config.max_peers, origins["max_peers"]), (5, beside))
        self.assertEqual((config.limit_have, origins["limit_have"]), (Rate(2000, 8000), "profile wan"))
        self.assertEqual((config.sync_interval, origins["sync_interval"]), (5.0, "default"))
        self.assertEqual(list(origins), list(OPTIONS))

    def test_lists(self) -> None:
        """A list comes from repeated flags, from commas in the environment, from a list in a file; one source wins."""
        file = self.write("c.toml", 'bootstrap = ["c:1", "d:2"]')
        environ = {**self.environ, "POSITRON_BOOTSTRAP": "a:1, b:2"}
        self.assertEqual(load({}, self.environ, file).config.bootstrap, ("c:1", "d:2"))
        self.assertEqual(load({}, environ, file).config.bootstrap, ("a:1", "b:2"))
        self.assertEqual(load({"bootstrap": ["e:1", "f:2"]}, environ, file).config.bootstrap, ("e:1", "f:2"))

    def test_json(self) -> None:
        """A JSON file does what a TOML file does."""
        file = self.write("c.json", '{"port": 1, "discovery": false, "retention": "5m", "limit_have": "1/2"}')
        config = load({}, self.environ, file).config
        self.assertEqual((config.port, config.discovery, config.retention), (1, False, 300.0))
        self.assertEqual(config.limit_have, Rate(1, 2))

    def test_file_named_in_the_environment(self) -> None:
        """POSITRON_CONFIG names a file, and the flag outranks it."""
        environ = {**self.environ, "POSITRON_CONFIG": self.write("e.toml", "port = 1")}
        self.assertEqual(load({}, environ).config.port, 1)
        self.assertEqual(load({}, environ, self.write("f.toml", "port = 2")).config.port, 2)

    def test_default_data_dir(self) -> None:
        """Without a folder named, it is the user's, by network and port as configured, percent-encoded."""
        base = str(self.folder / "share" / "positron")
        self.assertEqual(load({}, self.environ).config.data_dir, f"{base}/positron-8888")
        given = {"network": "../a b/ü", "port": "0"}
        self.assertEqual(load(given, self.environ).config.data_dir, f"{base}/..%2Fa%20b%2F%C3%BC-0")
        self.assertEqual(
            default_data_dir("n", 1, {"HOME": "/h"}), os.path.expanduser("~/.local/share/positron/n-1")
        )
        self.assertFalse((self.folder / "share").exists())

    def test_memory(self) -> None:
        """The command can be told to keep nothing."""
        self.assertIsNone(load({"data_dir": "memory"}, self.environ).config.data_dir)

    def test_relative_paths(self) -> None:
        """A file's relative paths count from its folder, a flag's from the working directory; both become absolute."""
        file = self.write("etc/c.toml", 'identity_file = "keys/a"\ndata_dir = "../data"')
        config = load({"log_file": "x/log"}, self.environ, file).config
        self.assertEqual(config.identity_file, str(self.folder / "etc/keys/a"))
        self.assertEqual(config.data_dir, str(self.folder / "data"))
        self.assertEqual(config.log_file, os.path.abspath("x/log"))
        self.assertEqual(load({"log_file": "x"}, self.environ, folder="/w").config.log_file, "/w/x")

    def refused(self, *args: object) -> str:
        error = str(self.assertRaises(ConfigError, load, *args))
        self.assertNotIn("\n", error)
        return error

    def test_errors_name_key_problem_and_source(self) -> None:
        """Whatever is wrong, one line names the key, the problem, and where it was said."""
        self.assertEqual(
            self.refused({"port": "99999"}, self.environ),
            "port: 99999 is not within 0 to 65535 (flag --port)",
        )
        environ = {**self.environ, "POSITRON_TTL": "99"}
        self.assertEqual(
            self.refused({}, environ), "ttl: 99 is not within 1 to 64 (environment POSITRON_TTL)"
        )
        file = self.write("c.toml", "fanuot = 3")
        self.assertEqual(
            self.refused({}, self.environ, file), f"unknown option 'fanuot'; did you mean fanout? ({file})"
        )
        environ = {**self.environ, "POSITRON_BOOTSRAP": "a:1"}
        self.assertIn(
            "unknown option POSITRON_BOOTSRAP in the environment; did you mean", self.refused({}, environ)
        )

    def test_broken_files(self) -> None:
        """A file that is missing, damaged, of the wrong shape or encoding is one sentence with its path."""
        for name, text in (
            ("a.toml", "port = \n\n"),
            ("b.json", "{"),
            ("c.json", "[]"),
            ("d.toml", "[node]\nport = 1"),
        ):
            self.assertIn(name, self.refused({}, self.environ, self.write(name, text)))
        (self.folder / "e.toml").write_bytes(b"network = '\xff'")
        self.assertIn("e.toml", self.refused({}, self.environ, str(self.folder / "e.toml")))
        self.assertIn("No such file", self.refused({}, self.environ, "/nowhere/c.toml"))
        self.assertIn("cannot be read", self.refused({}, self.environ, str(self.folder)))

    def test_others_variables_are_left_alone(self) -> None:
        """Variables of the prefix that look like no option are somebody else's; empty ones are not set."""
        environ = {
            **self.environ,
            "POSITRON_VERSION": "2026.1",
            "POSITRON_MODE": "desktop",
            "POSITRON_PORT": "",
        }
        self.assertEqual(load({}, environ).origins["port"], "default")

    def test_data_folders_own_file_cannot_point_elsewhere(self) -> None:
        """The file found in a data folder may repeat that folder's name, and not name another."""
        data = str(self.folder / "data")
        self.write("data/positron.toml", f'data_dir = "{data}"')
        self.assertEqual(load({"data_dir": data}, self.environ).config.data_dir, data)
        self.write("data/positron.toml", 'data_dir = "/elsewhere"')
        self.assertIn("data_dir", self.refused({"data_dir": data}, self.environ))


class RenderTests(SynchronousTestCase):
    def configs(self) -> list[Config]:
        return [
            Config(),
            Config(profile="wan", data_dir="/d"),
            Config(
                network='a "quoted" \\ name',
                bootstrap=["a:1", f"{NODE_ID}@[::1]:2"],
                discovery=False,
                http=0,
                retention=90.5,
                quota=2**20 + 1,
                limit_bytes="4097B/5MiB",
                limit_inbound="3/max",
                min_peers=0,
                trust_gain=0.000001,
            ),
        ]

    def test_round_trips(self) -> None:
        """Native values, shown texts, the TOML file and the JSON file each give the same configuration again."""
        for config in self.configs():
            self.assertEqual(Config(**as_native(config)), config)
            self.assertEqual(Config(**as_text(config)), config)
            self.assertEqual(Config(**json.loads(to_json(config))), config)
            self.assertEqual(Config(**{"profile": config.profile, **tomllib.loads(to_toml(config))}), config)

    def test_comments_of_toml_are_valid_too(self) -> None:
        """Every line that is commented out is right when its mark is taken away."""
        text = to_toml(Config())
        uncommented = "\n".join(line.removeprefix("# ") for line in text.splitlines() if " = " in line)
        values = tomllib.loads(uncommented)
        self.assertEqual(set(values), set(OPTIONS))
        self.assertEqual(Config(**values), Config())

    def test_schema_names_every_option(self) -> None:
        """The schema has each option with its meaning, refuses others, and holds each default."""
        made = schema()
        self.assertEqual(set(made["properties"]), set(OPTIONS))
        self.assertIs(made["additionalProperties"], False)
        for key, described in made["properties"].items():
            self.assertEqual(described["description"], OPTIONS[key].help)
            if "default" in described:
                self.assertEqual(getattr(Config(**{key: described["default"]}), key), getattr(Config(), key))
        json.dumps(made, allow_nan=False)

    def test_documentation_matches(self) -> None:
        """docs/options.rst is what the declarations say; `make options` writes it."""
        self.assertEqual((ROOT / "docs/options.rst").read_text(), options_table())

    def test_readable(self) -> None:
        """Texts are what a person would write."""
        texts = as_text(Config(retention=300, quota=2**20, limit_bytes="32/64"))
        self.assertEqual(
            (texts["retention"], texts["quota"], texts["limit_bytes"]), ("5m", "1MiB", "32MiB/64MiB")
        )
        self.assertEqual(
            (texts["http"], texts["discovery"], texts["heartbeat_interval"]), ("off", "true", "2s")
        )


class RuntimeDirTests(SynchronousTestCase):
    def test_made_private(self) -> None:
        """The folder for notes of running nodes is made with mode 0700, once."""
        base = Path(self.mktemp()).absolute()
        base.mkdir()
        environ = {"XDG_RUNTIME_DIR": str(base)}
        self.assertEqual(make_runtime_dir(environ), str(base / "positron"))
        self.assertEqual(make_runtime_dir(environ), runtime_dir(environ))
        self.assertEqual(stat.S_IMODE((base / "positron").stat().st_mode), 0o700)

    def test_somebody_elses(self) -> None:
        """A folder that others may write to, or a link, is not used."""
        base = Path(self.mktemp()).absolute()
        (base / "positron").mkdir(parents=True)
        (base / "positron").chmod(0o777)
        self.assertRaises(PermissionError, make_runtime_dir, {"XDG_RUNTIME_DIR": str(base)})
        other = Path(self.mktemp()).absolute()
        other.mkdir()
        (other / "positron").symlink_to(base)
        self.assertRaises(PermissionError, make_runtime_dir, {"XDG_RUNTIME_DIR": str(other)})

    def test_fallback(self) -> None:
        """Without a runtime folder of the session, it is one under /tmp that carries the user's number."""
        self.assertEqual(runtime_dir({}), f"/tmp/positron-{os.getuid()}")
        self.assertEqual(runtime_dir({"XDG_RUNTIME_DIR": "/nowhere"}), f"/tmp/positron-{os.getuid()}")
