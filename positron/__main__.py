"""`python -m positron`: the `positron` command where its script is not on the path."""

import sys

from positron.cli import main

if __name__ == "__main__":  # a process that `simulate` spawns imports this module, and runs nothing
    sys.exit(main())
