"""A worker that takes every signature for good, to see what all the rest costs. For measurements alone.

python -m positron.bench.unverified '{"network": "bench", "port": 0, ...}'
"""

from __future__ import annotations

from positron.core import identity


def _good(node_id: bytes, message: bytes, signature: bytes) -> bool:
    return True


if __name__ == "__main__":
    # Before anything else of positron is imported: a core takes its verifier from there when it is loaded.
    identity.verify = _good

    from positron.bench import worker

    worker.main()
