"""Sphinx configuration."""

from positron import __version__

project = "positron"
author = "The positron contributors"
copyright = f"2026, {author}"
version = release = __version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.doctest"]
exclude_patterns = ["_build", "newsfragments"]
html_theme = "alabaster"
nitpicky = True
default_role = "code"
