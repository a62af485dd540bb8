"""Runs the command line as ``python -m jaxcnn.cli``."""

import sys

from jaxcnn.cli.app import main

sys.exit(main())
