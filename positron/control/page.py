"""The status page: three files of dashboard/, read once, served with types and a policy that allows only them."""

from __future__ import annotations

from pathlib import Path

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of every reply."""

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
"""The file and content type behind each path."""


def load() -> dict[str, tuple[bytes, str]]:
    """The content and content type of each path."""
    folder = Path(__file__).parent / "dashboard"
    return {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in FILES.items()}
