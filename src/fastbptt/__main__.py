"""``python -m fastbptt`` is the command ``fastbptt``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
