"""What a wheel holds, and that twistd finds the plugin."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from twisted.application.service import IService, IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
PLUGIN = "twisted/plugins/positron_plugin.py"


def tree() -> set[str]:
    """The files of the checkout that an installed positron needs, as git knows them or would."""
    kinds = ("*.py", "*.sql", "py.typed", "dashboard/*")
    found = {path for kind in kinds for path in (ROOT / "positron").rglob(kind) if path.is_file()}
    return {str(path.relative_to(ROOT)) for path in found} | {PLUGIN}


class WheelTests(SynchronousTestCase):
    def test_wheel_matches_tree(self) -> None:
        """The wheel holds every module, every schema, the page and py.typed, the plugin, and nothing else.

        An __init__.py in `twisted/` would shadow Twisted, one in `twisted/plugins/` would hide the plugin.
        """
        target = Path(self.mktemp())
        target.mkdir()
        program = (
            "import sys, setuptools\n"
            "from setuptools import build_meta\n"
            "sys.argv[1:] = []\n"
            f"print(build_meta.build_wheel({str(target.absolute())!r}))"
        )
        copy = Path(self.mktemp())
        self.copy_tree(copy)
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=copy, capture_output=True, text=True, check=False
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        (wheel,) = target.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
        shipped = {name for name in names if ".dist-info/" not in name}
        self.assertEqual(shipped, tree())
        self.assertTrue(any(name.endswith("licenses/LICENSE") or name.endswith("LICENSE") for name in names))

    def copy_tree(self, target: Path) -> None:
        """A copy of what a wheel is built from, so that the build leaves nothing in the checkout."""
        files = ["setup.py", "pyproject.toml", "README.rst", "LICENSE", *tree()]
        for name in files:
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes((ROOT / name).read_bytes())


class PluginTests(SynchronousTestCase):
    def test_one_plugin(self) -> None:
        """twistd has exactly one `positron`, which names the module and nothing of ours is imported for it."""
        (found,) = [plugin for plugin in getPlugins(IServiceMaker) if plugin.tapname == "positron"]
        self.assertEqual(found.module, "positron.tap")
        self.assertNotIn("positron.", (ROOT / PLUGIN).read_text().replace('"positron.tap"', ""))

    def test_no_init_beside_the_plugin(self) -> None:
        """`twisted/` and `twisted/plugins/` of the checkout are not packages."""
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])

    def test_twistd_shows_it(self) -> None:
        """`twistd --help`, run outside the checkout, has a positron line: the editable install works."""
        twistd = Path(sys.executable).parent / "twistd"
        done = subprocess.run([str(twistd), "--help"], cwd="/", capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [line.split() for line in done.stdout.splitlines()]
        self.assertIn(["positron", "A", "peer-to-peer", "gossip", "node."], lines)

    def test_makes_a_service_that_does_not_run(self) -> None:
        """Making the service binds, opens and creates nothing."""
        from positron.tap import Options, makeService

        folder = Path(self.mktemp()).absolute()
        options = Options()
        options.parseOptions(["--port", "0", "--host", "127.0.0.1", "--data-dir", str(folder)])
        made = makeService(options)
        self.assertTrue(IService.providedBy(made))
        self.assertFalse(made.running)
        self.assertFalse(folder.exists())
