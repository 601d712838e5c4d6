"""Commands that show something of a running node."""

import os

from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from positron.config.places import runtime_dir
from positron.store.folder import DataFolder
from tests.cli.running import CommandCase, Environment, keys, run, without
from tests.control.fake import ALICE, ALINA, ME, STATUS, peer


class StatusTests(CommandCase):
    @inlineCallbacks
    def test_json(self):
        """One object with the promised names, nothing else on either stream."""
        result = yield self.command("status", "--json")
        self.assertEqual((result.code, result.err), (0, ""))
        self.assertEqual(result.json(), {"schema": 1, **STATUS})

    @inlineCallbacks
    def test_pipe(self):
        """A pipe gets a header and one name and value a line."""
        result = yield self.command("status")
        self.assertEqual(result.lines[:2], ["name\tvalue", f"node_id\t{ME}"])
        self.assertIn("peers.up\t2", result.lines)
        self.assertIn("ready\ttrue", result.lines)
        self.assertIn("listen\t127.0.0.1:8888", result.lines)

    @inlineCallbacks
    def test_terminal(self):
        """A terminal gets a line for each subject."""
        result = yield self.command("status", terminal=True)
        lines = [line.rstrip() for line in result.lines]
        self.assertIn("network     lab (ready)", lines)
        self.assertIn("peers       2 up (1 out, 1 in), 0 suspect, 3 known, 0 banned", lines)
        self.assertIn("store       7 messages in 6 envelopes, 4.0 KiB", lines)

    @inlineCallbacks
    def test_wait(self):
        """--wait returns as soon as the node is ready, and with 4 if it does not get ready."""
        self.node.ready = False
        late = yield self.command("status", "--wait", "0.2", "--json")
        self.assertEqual((late.code, late.json()["error"]["code"]), (4, "timeout"))
        waiting = self.command("status", "--wait", "20s", "--json")
        for _ in range(3):
            yield self.ask("GET", "/healthz")
        self.assertNoResult(waiting)
        self.node.ready = True
        result = yield waiting
        self.assertEqual((result.code, result.json()["ready"]), (0, True))

    @inlineCallbacks
    def test_wait_for_a_node_that_is_not_there_yet(self):
        """--wait also waits for the process."""
        yield self.control.stop()
        gone = yield self.command("status", "--wait", "0.1s")
        self.assertEqual(gone.code, 4)


class UsageTests(SynchronousTestCase):
    def test_unknown_command(self):
        """A misspelt command is 2, with the nearest that there is."""
        for wrong, right in (
            ("statsu", "; did you mean stats?"),
            ("pubb", "; did you mean pub?"),
            ("zzz", ""),
        ):
            result = run([wrong])
            self.assertEqual((result.code, result.out), (2, ""))
            self.assertIn(f"no such command '{wrong}'{right}\n", result.err)

    def test_json_after_the_mistake(self):
        """An error is JSON wherever --json stands: behind what could not be read as well."""
        for arguments in (
            ["status", "--nonsense", "--json"],
            ["nonsense", "--json"],
            ["--x", "--json", "id"],
        ):
            result = run(arguments)
            self.assertEqual((result.code, result.json()["error"]["code"]), (2, "usage"))


class FindingTests(CommandCase):
    @inlineCallbacks
    def test_no_node(self):
        """Without a node the exit code is 3, with a hint, in JSON on stdout."""
        yield self.control.stop()
        for arguments in (["--socket", self.path], ["--data-dir", self.folder], []):
            plain = yield deferToThread(run, [*arguments, "id"])
            self.assertEqual((plain.code, plain.out), (3, ""))
            self.assertIn("hint: start one with `positron start`", plain.err)
            asked = yield deferToThread(run, [*arguments, "id", "--json"])
            self.assertEqual((asked.code, asked.json()["error"]["code"]), (3, "no_node"))
            self.assertEqual(set(asked.json()["error"]), {"code", "message", "hint"})

    @inlineCallbacks
    def test_no_node_in_a_deep_folder(self):
        """Where a socket's path would be too long no node runs yet, and it can be waited for."""
        deep = os.path.join(self.folder, "x" * 110)
        for arguments, code in ((["id"], 3), (["status", "--wait", "0.1"], 4)):
            result = yield deferToThread(run, ["-d", deep, *arguments, "--json"])
            self.assertEqual((result.code, result.json()["error"]["code"] != "error"), (code, True))

    @inlineCallbacks
    def test_by_data_dir(self):
        """A data folder leads to its socket: as an option before or after the command, or from the environment."""
        for arguments in (["-d", self.folder, "id"], ["id", "--data-dir", self.folder]):
            result = yield deferToThread(run, arguments)
            self.assertEqual(result.code, 0)
        Environment(self, POSITRON_DATA_DIR=self.folder)
        result = yield deferToThread(run, ["id"])
        self.assertEqual(result.code, 0)

    @inlineCallbacks
    def test_the_only_one(self):
        """Without a word the only node that runs is meant; of several the command asks which, and ends with 2."""
        base = self.mktemp()
        os.mkdir(base)
        Environment(self, XDG_RUNTIME_DIR=os.path.abspath(base))
        runtime = runtime_dir(os.environ)
        os.mkdir(runtime, 0o700)
        mine, other = DataFolder(self.folder), DataFolder(self.mktemp())
        self.addCleanup(mine.unlock)
        self.addCleanup(other.unlock)
        mine.lock()
        mine.note(runtime, "lab", 8888, self.path)
        alone = yield deferToThread(run, ["id", "--json"])
        self.assertEqual((alone.code, alone.json()["node_id"]), (0, ME))
        other.lock()
        other.note(runtime, "lab", 8889, "/nowhere")
        several = yield deferToThread(run, ["id"])
        self.assertEqual((several.code, several.out), (2, ""))
        for part in (self.folder, other.path, "port 8889", "--data-dir"):
            self.assertIn(part, several.err)


class ListTests(CommandCase):
    @inlineCallbacks
    def test_id(self):
        """The id is never cut."""
        result = yield self.command("id", "--json")
        self.assertEqual(result.json(), {"schema": 1, "node_id": ME, "address": "127.0.0.1:8888"})
        piped = yield self.command("id")
        self.assertEqual(piped.lines, ["node_id\taddress", f"{ME}\t127.0.0.1:8888"])

    @inlineCallbacks
    def test_peers(self):
        """Peers: the promised names in JSON, whole rows in a pipe, short ids on a terminal."""
        fields = (
            "node_id address direction state trust rtt_seconds messages_in_total messages_out_total "
            "bytes_in_total bytes_out_total connected_seconds"
        )
        result = yield self.command("peers", "--json")
        self.assertEqual(set(result.json()), {"schema", "peers"})
        self.assertEqual(set(result.json()["peers"][0]), keys(fields))
        piped = yield self.command("peers")
        self.assertEqual(piped.lines[0], "\t".join(fields.split()))
        self.assertEqual(piped.lines[2], f"{ALINA}\t10.0.0.1:8888\tin\tup\t0.5\t\t3\t4\t300\t400\t60.0")
        shown = yield self.command("peers", terminal=True)
        self.assertEqual(
            shown.lines[1].split()[:7], [ALICE[:8], "10.0.0.1:8888", "out", "up", "0.50", "2.0", "ms"]
        )
        everyone = yield self.command("peers", "--all", "--json")
        self.assertEqual(everyone.json()["peers"][2]["state"], "down")

    @inlineCallbacks
    def test_no_peers(self):
        """An empty list is a header."""
        self.node.links = []
        piped = yield self.command("peers")
        self.assertEqual(len(piped.lines), 1)

    @inlineCallbacks
    def test_control_characters(self):
        """What a peer may have chosen reaches neither a terminal nor a pipe as a control character."""
        self.node.links = [peer(ALICE, address="evil\x1b[2J\n\t\u202egnp")]
        for terminal in (True, False):
            result = yield self.command("peers", terminal=terminal)
            self.assertIn(r"evil\x1b[2J\n\t\u202egnp", result.out)
            self.assertEqual(len(result.lines), 2)

    @inlineCallbacks
    def test_topics_and_stats(self):
        """Topics are a table, stats an object."""
        topics = yield self.command("topics", "--json")
        self.assertEqual(topics.json()["topics"], [{"topic": "chat", "subscribers": 1, "messages_total": 9}])
        piped = yield self.command("topics")
        self.assertEqual(piped.lines, ["topic\tsubscribers\tmessages_total", "chat\t1\t9"])
        stats = yield self.command("stats")
        self.assertIn("messages.received_total\t20", stats.lines)

    @inlineCallbacks
    def test_trace(self):
        """What is known of a message; nothing known is a negative answer."""
        known = yield self.command("trace", f"{ALICE}.7.1", "--json")
        self.assertEqual((known.json()["author"], known.json()["hops"]), (ALICE, 2))
        nonsense = yield self.command("trace", "nothing/../status")
        self.assertEqual((nonsense.code, nonsense.out), (2, ""))
        unknown = yield self.command("trace", f"{ALICE}.7.2")
        self.assertEqual(unknown.code, 1)
        self.assertIn("hint: ids look like AUTHOR.EPOCH.SEQ", unknown.err)


class PeerTests(CommandCase):
    @inlineCallbacks
    def test_verdicts(self):
        """add, drop, ban and forget reach the node; a peer is named by a beginning of its id."""
        yield self.command("peers", "add", "10.0.0.9:8888")
        yield self.command("peers", "drop", "abcd")
        yield self.command("peers", "ban", "abcd", "--for", "5m")
        banned = yield self.command("peers", "ban", "abcd", "--json")
        self.assertEqual(banned.json(), {"schema": 1, "node_id": ALICE, "seconds": 3600.0})
        forgotten = yield self.command("peers", "forget", "abcd")
        self.assertEqual(forgotten.lines, ["node_id", ALICE])
        expected = [
            ("add_peer", "10.0.0.9:8888"),
            ("drop_peer", ALICE),
            ("ban_peer", ALICE, 300.0),
            ("ban_peer", ALICE, 3600.0),
            ("forget_peer", ALICE),
        ]
        self.assertEqual(self.node.calls, expected)

    @inlineCallbacks
    def test_not_the_node_itself(self):
        """The node is no peer of its own: a usage error, in one sentence."""
        for words in (["send", ME, "x"], ["peers", "ban", ME], ["trust", ME, "--set", "1"]):
            result = yield self.command(*words)
            self.assertEqual((words, result.code, result.out), (words, 2, ""))
            self.assertIn("positron: that is the id of this node itself\nhint: ", result.err)
        self.assertEqual(self.node.calls, [])

    @inlineCallbacks
    def test_which_peer(self):
        """An unknown or ambiguous peer is a negative answer, one that cannot be an id a usage error."""
        codes = {"zyxw": 1, "ab": 2, "!!!!": 2}
        self.node.links.append(peer("abcdx" + "e" * 47))
        for name, code in {**codes, "abcd": 1}.items():
            result = yield self.command("peers", "drop", name)
            self.assertEqual((name, result.code), (name, code))
        self.assertIn(ALICE, result.err)
        self.assertEqual(self.node.calls, [])

    @inlineCallbacks
    def test_trust(self):
        """All peers as a list, one with the changes that led to its score."""
        everyone = yield self.command("trust", "--json")
        self.assertEqual([view["node_id"] for view in everyone.json()["peers"]], [ALICE, ALINA])
        one = yield self.command("trust", "abcd", "--json")
        self.assertLessEqual(keys("node_id trust first_hand opinion events"), set(one.json()))
        self.assertEqual(one.json()["events"][0]["cause"], "delivery")
        parts = yield self.command("trust", "abcd")
        self.assertIn("first_hand\t0.5", parts.lines)
        history = yield self.command("trust", "abcd", "--history")
        self.assertEqual(history.lines[1].split("\t")[1:], ["delivery", "3", "0.003", "0.5", "0.503"])
        shown = yield self.command("trust", "abcd", "--history", terminal=True)
        self.assertIn("+0.0030", shown.out)

    @inlineCallbacks
    def test_set_trust(self):
        """The operator's verdict is a number from 0 to 1 about one peer."""
        yield self.command("trust", "abcd", "--set", "0.25")
        self.assertEqual(self.node.calls, [("set_trust", ALICE, 0.25)])
        for wrong in (["abcd", "--set", "2"], ["--set", "0.5"], ["--history"]):
            result = yield self.command("trust", *wrong)
            self.assertEqual(result.code, 2)

    @inlineCallbacks
    def test_ping(self):
        """A ping prints the round trip; a node without a link is a negative answer."""
        result = yield self.command("ping", "abcd", "--json", "--count", "2")
        self.assertEqual(
            [without(line, "schema") for line in result.json_lines()],
            [{"node_id": ALICE, "rtt_seconds": 0.002}] * 2,
        )
        unknown = yield self.command("ping", "y" * 52)
        self.assertEqual(unknown.code, 1)
