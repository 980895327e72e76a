"""``python -m medkernels.cli``: the command line, where its script is not on the path."""

import sys

from medkernels.cli import main

sys.exit(main())
