"""Trains, samples, measures and exports energy-based models of images: `python run.py --help`."""

import sys

from drl_tf.cli.main import main

if __name__ == '__main__':
    sys.exit(main(sys.argv))
