"""The same command line as `python -m components`, on the toy steps."""

import sys

from modit.core.command import main
from modit.core.registry import discover

if __name__ == "__main__":
    sys.exit(main(discover("toysteps", "modit.params")))
