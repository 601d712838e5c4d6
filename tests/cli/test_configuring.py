"""Commands that need no running node: init, config, key, doctor, completion, version."""

import json
import os
import socket
import stat
import tomllib

from twisted.trial.unittest import SynchronousTestCase

from positron import __version__
from positron.cli.app import COMMANDS
from positron.config import OPTIONS
from positron.node.parameters import read_secrets
from positron.store import keyfile
from positron.store.folder import DataFolder
from tests.cli.running import Environment, clean, keys, run

CHEAP = keyfile.Cost(1, 8)


class FileCase(SynchronousTestCase):
    """A data folder to be, and no node."""

    def setUp(self):
        base = os.path.abspath(self.mktemp())
        os.makedirs(base)
        clean(self, XDG_RUNTIME_DIR=os.path.join(base, "runtime"), XDG_DATA_HOME=os.path.join(base, "data"))
        self.folder = os.path.join(base, "node")

    def here(self, *arguments, **more):
        return run(["--data-dir", self.folder, *arguments], **more)


class InitTests(FileCase):
    def test_init(self):
        """A key that only the owner may read, and the options that were given, in a private folder."""
        result = self.here(
            "init", "--port", "0", "--network", "lab", "--bootstrap", "a:1", "--bootstrap", "b:2", "--json"
        )
        self.assertEqual((result.code, result.json()["data_dir"]), (0, self.folder))
        self.assertEqual(stat.S_IMODE(os.stat(self.folder).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.folder, "identity.key")).st_mode), 0o600)
        shown = self.here("key", "show", "--json")
        self.assertEqual(shown.json()["node_id"], result.json()["node_id"])
        config = self.here("config", "show", "--json", "--origin").json()
        self.assertEqual(config["config"]["bootstrap"], ["a:1", "b:2"])
        self.assertEqual(config["origins"]["network"], os.path.join(self.folder, "positron.toml"))

    def test_init_twice(self):
        """A key is never overwritten."""
        first = self.here("init")
        again = self.here("init")
        self.assertEqual((first.code, again.code, again.out), (0, 2, ""))
        self.assertIn("never overwritten", again.err)
        self.assertEqual(self.here("key", "show").lines[1].split("\t")[0], first.lines[1].split("\t")[0])

    def test_default_folder(self):
        """Without --data-dir it is the user's data folder, by network and port."""
        result = run(["init", "--port", "4711", "--json"])
        self.assertEqual(os.path.basename(result.json()["data_dir"]), "positron-4711")
        self.assertTrue(result.json()["data_dir"].startswith(os.environ["XDG_DATA_HOME"]))

    def test_wrong_options(self):
        """A bad option is one sentence and 2, and nothing is made."""
        result = self.here("init", "--port", "notaport")
        self.assertEqual((result.code, result.out), (2, ""))
        self.assertIn("port: 'notaport' is not a whole number", result.err)
        self.assertEqual(self.here("init", "--network", "").code, 2)
        self.assertFalse(os.path.exists(self.folder))


class ConfigTests(FileCase):
    def test_show(self):
        """Every option, with its value and where it comes from."""
        Environment(self, POSITRON_TTL="5")
        result = self.here("config", "show", "--origin", "--fanout", "4")
        rows = dict(line.split("\t", 1) for line in result.lines)
        self.assertEqual(set(rows), {"key", *OPTIONS})
        self.assertEqual(rows["fanout"], "4\tflag --fanout")
        self.assertEqual(rows["ttl"], "5\tenvironment POSITRON_TTL")
        self.assertEqual(rows["max_peers"], "50\tdefault")

    def test_check(self):
        """A good file is 0, a bad one 2 with the key's name."""
        good, bad = self.mktemp() + ".toml", self.mktemp() + ".toml"
        with open(good, "w") as file:
            file.write('network = "lab"\n')
        with open(bad, "w") as file:
            file.write("prot = 1\n")
        self.assertEqual(run(["config", "check", good, "--json"]).json()["network"], "lab")
        refused = run(["config", "check", bad])
        self.assertEqual(refused.code, 2)
        self.assertIn("port", refused.err)
        self.assertEqual(
            run(["config", "check", "/nowhere.toml", "--json"]).json()["error"]["code"], "config"
        )

    def test_generate(self):
        """What is generated can be read back."""
        made = self.here("config", "generate", "--network", "lab", "--fanout", "4")
        self.assertEqual(tomllib.loads(made.out)["fanout"], 4)
        old = self.here("generate-config", "--format", "json", "--network", "lab")
        self.assertEqual(json.loads(old.out)["network"], "lab")
        path = self.mktemp() + ".json"
        with open(path, "w") as file:
            file.write(old.out)
        self.assertEqual(run(["config", "check", path]).code, 0)

    def test_generate_into_a_file(self):
        """The older name takes the file it always took, in the form that its name says, and overwrites none."""
        path = self.mktemp() + ".json"
        made = self.here("generate-config", path, "--network", "lab")
        self.assertEqual((made.code, made.out), (0, path + "\n"))
        self.assertEqual(run(["config", "check", path, "--json"]).json()["network"], "lab")
        again = self.here("generate-config", path)
        self.assertEqual((again.code, again.out), (2, ""))

    def test_schema(self):
        """The schema names every option."""
        self.assertEqual(set(json.loads(run(["config", "schema"]).out)["properties"]), set(OPTIONS))

    def test_flags(self):
        """`start` has a flag for each option, and shows its meaning."""
        shown = " ".join(run(["start", "--help"]).out.split())
        for option in OPTIONS.values():
            self.assertIn(option.flag + " ", shown)


class RotateTests(FileCase):
    def setUp(self):
        super().setUp()
        self.first = self.here("init", "--json").json()["node_id"]
        self.key = os.path.join(self.folder, "identity.key")

    def shown(self):
        return self.here("key", "show", "--json").json()["node_id"]

    def test_rotate(self):
        """A new id under the old name, for its owner alone; the old key is kept, and can be put back."""
        rotated = self.here("key", "rotate", "--json")
        body = rotated.json()
        self.assertEqual((rotated.code, body["previous"]), (0, self.first))
        self.assertNotEqual(body["node_id"], self.first)
        self.assertEqual(self.shown(), body["node_id"])
        self.assertEqual(stat.S_IMODE(os.stat(self.key).st_mode), 0o600)
        os.replace(body["previous_file"], self.key)
        self.assertEqual(self.shown(), self.first)

    def test_with_a_passphrase(self):
        """Closed as the old one was; a wrong passphrase, or none, changes nothing."""
        path, wrong = os.path.abspath(self.mktemp()), os.path.abspath(self.mktemp())
        for name, content in ((path, "correct horse"), (wrong, "incorrect")):
            with open(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
                file.write(content)
        seed = keyfile.load(self.key).seed
        os.unlink(self.key)
        keyfile.create(self.key, seed, b"correct horse", CHEAP)
        for arguments in ([], ["--passphrase-file", wrong]):
            self.assertEqual(self.here("key", "rotate", *arguments).code, 2)
        self.assertEqual(self.shown(), self.first)
        self.assertEqual(self.here("key", "rotate", "--passphrase-file", path).code, 0)
        self.assertNotEqual(self.shown(), self.first)
        self.assertEqual(keyfile.load(self.key, b"correct horse").node_id, keyfile.node_id_of(self.key))

    def test_not_now(self):
        """While a node runs, where there is no key, or where the old one's place is taken: 2, and nothing changed."""
        held = DataFolder(self.folder)
        held.lock()
        running = self.here("key", "rotate")
        held.unlock()
        self.assertEqual((running.code, running.out), (2, ""))
        self.assertEqual(self.shown(), self.first)
        back = self.here("key", "rotate", "--json").json()["previous_file"]
        second = self.shown()
        os.link(self.key, f"{self.key}.{second[:8]}")
        taken = self.here("key", "rotate")
        self.assertEqual((taken.code, self.shown()), (2, second))
        self.assertIn("never overwritten", taken.err)
        for path in (back, f"{self.key}.{second[:8]}", self.key):
            os.unlink(path)
        none = self.here("key", "rotate")
        self.assertEqual(none.code, 2)
        self.assertIn("positron init", none.err)
        self.assertNotIn("identity.key", os.listdir(self.folder))


class SecretTests(FileCase):
    def test_secret(self):
        """Each new secret stands above the newest one, so that nodes can change over one after another."""
        path = os.path.abspath(self.mktemp())
        first = self.here("key", "secret", "--secret-file", path, "--json")
        self.assertEqual((first.code, first.json()["secrets"]), (0, 1))
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        made = read_secrets(path)
        self.assertEqual([len(secret) for secret in made], [32])
        self.here("key", "secret", "--secret-file", path)
        self.here("key", "secret", "--secret-file", path)
        third = read_secrets(path)
        self.assertEqual(len(third), 2)
        self.assertNotIn(made[0], third)
        self.here("key", "secret", "--secret-file", path)
        self.assertEqual(read_secrets(path)[1], third[0])

    def test_wrong_files(self):
        """No file named, a file that is none, a folder that is not there: 2, and nothing is changed."""
        broken = os.path.abspath(self.mktemp())
        with open(broken, "wb") as file:
            file.write(b"\xff\xff")
        for arguments in ([], ["--secret-file", broken], ["--secret-file", "/nowhere/at/all"]):
            self.assertEqual((arguments, self.here("key", "secret", *arguments).code), (arguments, 2))
        with open(broken, "rb") as file:
            self.assertEqual(file.read(), b"\xff\xff")


class DoctorTests(FileCase):
    def test_healthy(self):
        """Nothing wrong with options for a node that is not there yet, and nothing is made."""
        result = self.here("doctor", "--port", "0", "--json")
        self.assertEqual(result.code, 0)
        found = {check["check"]: check["result"] for check in result.json()["checks"]}
        self.assertEqual(found, {"config": "ok", "folder": "ok", "key": "ok", "node": "note", "ports": "ok"})
        self.assertFalse(os.path.exists(self.folder))

    def test_wrong(self):
        """A taken port, an open key, a bad option: 1, and the sentence that says so."""
        self.here("init")
        os.chmod(os.path.join(self.folder, "identity.key"), 0o644)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            result = self.here("doctor", "--host", "127.0.0.1", "--port", port)
        self.assertEqual(result.code, 1)
        self.assertIn("chmod 600", result.out)
        self.assertIn(f"port {port} on 127.0.0.1 is taken", result.out)
        self.assertEqual(self.here("doctor", "--port", "x").code, 1)

    def test_secrets(self):
        """Secrets that cannot be used, or that others may read, are told; members are no secret."""
        path = os.path.abspath(self.mktemp())
        for content, mode, expected in (
            ("no base32", 0o600, "wrong"),
            ("mfrggzdfmztwq2lknnwg23tpob", 0o640, "wrong"),
            ("mfrggzdfmztwq2lknnwg23tpob", 0o602, "wrong"),
            ("mfrggzdfmztwq2lknnwg23tpob", 0o600, "ok"),
        ):
            with open(path, "w") as file:
                file.write(content + "\n")
            os.chmod(path, mode)
            result = self.here("doctor", "--port", "0", "--secret-file", path, "--json")
            found = {check["check"]: check for check in result.json()["checks"]}
            self.assertEqual((mode, found["secrets"]["result"]), (mode, expected))
            self.assertEqual("chmod 600" in found["secrets"]["detail"], mode not in (0o600,))


class OtherTests(FileCase):
    def test_version(self):
        """The version, three ways."""
        for arguments in (["--version"], ["version"]):
            self.assertEqual(run(arguments).lines, [f"positron {__version__}"])

    def test_completion(self):
        """Scripts for both names of the command."""
        for shell in ("zsh", "fish"):
            script = run(["completion", shell]).out
            for name in keys("_POSITRON_COMPLETE _DNET_COMPLETE"):
                self.assertIn(name, script)

    def test_help(self):
        """Every command explains itself; the two old names are not advertised."""
        listed = run(["--help"]).out
        for name in COMMANDS:
            self.assertEqual((name, run([name, "--help"]).code), (name, 0))
            self.assertEqual(f"\n  {name} " in listed, name not in ("generate-config", "version"))

    def test_unknown_command(self):
        """An unknown command or option is 2."""
        for arguments in (["nonsense"], ["status", "--nonsense"], ["pub"]):
            self.assertEqual(run(arguments).code, 2)
