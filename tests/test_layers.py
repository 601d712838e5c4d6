"""The house rules that can be read off the source: imports point one way, the core is pure, tests say their intent."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "positron"

# A layer may import itself, what stands below it, and `errors`. What is not listed may import anything.
BELOW = {
    "errors": set(),
    "config": {"core", "errors"},
    "core": {"errors"},
    "transport": {"core", "config", "errors"},
    "store": {"core", "config", "errors"},
    "logs": {"errors"},
    "services": {"transport", "store", "core", "config", "logs", "errors"},
    "control": {"services", "store", "core", "config", "logs", "errors"},
    "node": {"checks", "control", "services", "transport", "store", "core", "config", "logs", "errors"},
    "cli": {
        "node",
        "control",
        "services",
        "store",
        "core",
        "config",
        "errors",
        "simulation",
        "checks",
        "bench",
    },
    "bench": {"simulation", "node", "services", "transport", "store", "core", "config", "errors"},
    "simulation": {"node", "services", "transport", "store", "core", "config", "errors", "testing"},
    "checks": {"store", "core", "config", "errors"},
}

# No clock, no chance, no world.
FORBIDDEN_IN_CORE = {
    "asyncio",
    "multiprocessing",
    "os",
    "secrets",
    "select",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "twisted",
}

# Within the core these are what each part may be built from; the parts themselves do not know each other.
CORE_PARTS = {"overlay", "gossip", "sync", "trust", "addresses", "direct"}
STANDS_ON = {"overlay": {"addresses"}}
"""Whom to be linked to is chosen from the address book."""

REACTOR_ALLOWED = {"tap.py", "simulation/real.py", "cli/simulate.py", "bench/worker.py", "bench/feeder.py"}


def imports_of(path: Path) -> Iterator[tuple[str, str]]:
    """Each (module, name) that a file imports, wherever in it; relative imports made absolute."""
    here = path.relative_to(ROOT).with_suffix("").parts
    package = here[:-1]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def layer(parts: tuple[str, ...]) -> str:
    """`core` for positron.core.gossip, `` for positron itself."""
    return parts[1] if len(parts) > 1 else ""


def own_imports(path: Path) -> Iterator[tuple[str, ...]]:
    """The modules of positron that a file imports, as parts; `from positron import tap` counts as positron.tap."""
    for module, name in imports_of(path):
        parts = tuple(module.split("."))
        if parts == ("positron",) and name and not name.startswith("_") and name[:1].islower():
            parts = ("positron", name)
        if parts[0] == "positron":
            yield parts


class LayerTests(SynchronousTestCase):
    def test_imports_point_one_way(self) -> None:
        """No module imports from a layer above its own."""
        wrong = []
        for path in sources(PACKAGE):
            own = layer(path.relative_to(ROOT).with_suffix("").parts)
            for parts in own_imports(path):
                target = layer(parts)
                if own in BELOW and target not in BELOW[own] | {own, ""}:
                    wrong.append(f"{path.relative_to(ROOT)} imports {'.'.join(parts)}")
        self.assertEqual(wrong, [])

    def test_core_is_pure(self) -> None:
        """Nothing in core/ imports Twisted, a clock, the operating system, or chance of its own."""
        wrong = []
        for path in sources(PACKAGE / "core"):
            for module, name in imports_of(path):
                top = module.split(".")[0]
                if top in FORBIDDEN_IN_CORE or (top == "random" and name != "Random"):
                    wrong.append(f"{path.relative_to(ROOT)} imports {module} {name}".rstrip())
        self.assertEqual(wrong, [])

    def test_core_parts_do_not_know_each_other(self) -> None:
        """Overlay, gossip, sync, trust, addresses and direct meet in swarm only."""
        wrong = []
        for path in sources(PACKAGE / "core"):
            own = path.relative_to(PACKAGE / "core").parts[0].removesuffix(".py")
            for parts in own_imports(path):
                part = parts[2] if parts[:2] == ("positron", "core") and len(parts) > 2 else None
                if own in CORE_PARTS and part in CORE_PARTS - STANDS_ON.get(own, set()) - {own}:
                    wrong.append(f"{path.relative_to(ROOT)} imports {'.'.join(parts)}")
        self.assertEqual(wrong, [])

    def test_errors_imports_nothing(self) -> None:
        """The one module that every layer shares depends on none."""
        self.assertEqual({m for m, _ in imports_of(PACKAGE / "errors.py")}, {"__future__"})

    def test_config_knows_no_twisted(self) -> None:
        """The command reads its configuration without importing Twisted."""
        modules = {m.split(".")[0] for path in sources(PACKAGE / "config") for m, _ in imports_of(path)}
        self.assertNotIn("twisted", modules)

    def test_reactor_is_named_in_few_places(self) -> None:
        """Only the door and the programs that are their own process name the global reactor."""
        wrong = [
            str(path.relative_to(ROOT))
            for path in sources(PACKAGE)
            if str(path.relative_to(PACKAGE)) not in REACTOR_ALLOWED
            for module, name in imports_of(path)
            if (module, name) == ("twisted.internet", "reactor") or module == "twisted.internet.reactor"
        ]
        self.assertEqual(wrong, [])

    def test_modules_are_short(self) -> None:
        """A module of more than 400 lines becomes a package."""
        lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in sources(PACKAGE)}
        self.assertEqual({name: n for name, n in lengths.items() if n > 400}, {})


class FreshProcessTests(SynchronousTestCase):
    def loaded(self, code: str) -> set[str]:
        """The modules in sys.modules after running some code in a new interpreter."""
        program = f"{code}\nimport sys; print('\\n'.join(sys.modules))"
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
        )
        self.assertEqual(done.stderr, "")
        return set(done.stdout.split())

    def test_importing_positron_costs_nothing(self) -> None:
        """`import positron` alone imports neither Twisted nor cryptography."""
        loaded = self.loaded("import positron")
        self.assertEqual({m.split(".")[0] for m in loaded} & {"twisted", "nacl", "attr", "msgpack"}, set())

    def test_no_global_reactor(self) -> None:
        """Every promised name can be imported without installing a reactor."""
        loaded = self.loaded("from positron import *\nimport positron.tap")
        self.assertIn("twisted.internet.defer", loaded)
        self.assertNotIn("twisted.internet.reactor", loaded)

    def test_daemon_leaves_the_commands_libraries_out(self) -> None:
        """The door and the node import neither click nor rich: memory is for messages."""
        loaded = self.loaded("import positron.tap, positron.node")
        self.assertEqual({m.split(".")[0] for m in loaded} & {"click", "rich"}, set())


class DocstringTests(SynchronousTestCase):
    def test_each_test_says_its_intent(self) -> None:
        """Every test method has a docstring."""
        silent = []
        for path in sources(ROOT / "tests"):
            for node in ast.walk(ast.parse(path.read_text())):
                test = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
                    "test_"
                )
                if test and ast.get_docstring(node) is None:
                    silent.append(f"{path.relative_to(ROOT)}: {node.name}")
        self.assertEqual(silent, [])
