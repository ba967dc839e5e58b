"""`python -m tactus_export`: the same as the command `tactus-export`."""

import sys

from tactus_export.cli import main

sys.exit(main())
