"""Makes `python -m drl_tf.cli` the same as `python run.py`."""

import sys

from drl_tf.cli.main import main

sys.exit(main(sys.argv))
