"""`python -m firmware.cli`, as systemd and the keeper start it."""

import sys

from firmware.cli import main

if __name__ == "__main__":
    sys.exit(main())
