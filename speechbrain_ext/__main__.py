"""`python -m speechbrain_ext` is `singbrain`."""

import sys

from speechbrain_ext.cli import main

if __name__ == "__main__":
    sys.exit(main())
