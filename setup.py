"""Package metadata of positron. Tool settings live in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

VERSION = re.search(r'^__version__ = "([^"]+)"', (HERE / "positron/__init__.py").read_text(), re.M).group(1)

setup(
    name="positron",
    version=VERSION,
    description="A peer-to-peer gossip network as a Twisted service.",
    long_description=(HERE / "README.rst").read_text(),
    long_description_content_type="text/x-rst",
    keywords="twisted gossip peer-to-peer p2p broadcast pubsub",
    license="MIT",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Twisted",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Topic :: System :: Networking",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    # A static .pth: with setuptools' import hook instead, `pip install -e .` silently hides the
    # twistd plugin, because twisted.plugin looks only at real sys.path entries.
    package_dir={"": "."},
    # `twisted/` and `twisted/plugins/` have no __init__.py (one would shadow Twisted itself), so
    # find_packages cannot see the plugin.
    packages=[*find_packages(include=["positron", "positron.*"]), "twisted.plugins"],
    package_data={
        "positron": ["py.typed"],
        "positron.store": ["schema/*.sql"],
        "positron.control": ["dashboard/*"],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "positron = positron.cli:main",
            "dnet = positron.cli:main",
        ],
    },
    install_requires=[
        "twisted[tls]>=25.5",
        "pynacl>=1.5",
        "msgpack>=1.0.4",
        "attrs>=23.2",
        "click>=8.1",
        "rich>=13",
        "prometheus-client>=0.20",
    ],
    extras_require={
        "plot": ["matplotlib"],
        "lan": ["zeroconf"],
        # `positron simulate --scheduler`: schedules runs over machines, so that we need no scheduler of our own.
        "cluster": ["dask[distributed]"],
        "dev": [
            "pytest",
            "pytest-twisted",
            "hypothesis",
            "treq",
            "ruff>=0.17,<0.18",
            "mypy>=2.4,<2.5",
            "mypy-zope",
            "towncrier",
            "sphinx",
            "coverage>=7.10",
            "setuptools>=77",
        ],
    },
)
