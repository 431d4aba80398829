"""Logs of a run: files of JSON lines, each of a training step."""

import json
import math
import os

from absl import logging

from drl_tf.base.files import written_aside


def drop_after(path, step):
    """Removes the lines of later steps from a log, which a run that was interrupted has left there."""
    if os.path.exists(path):
        with open(path, encoding='utf-8', errors='replace') as file:
            kept = [line for line in file if _step_of(line) <= step]
        with written_aside(path) as file:
            file.writelines(kept)


def _step_of(line):
    """The step of a line of the log; infinite where the line is damaged."""
    try:
        return int(json.loads(line)['step']) if line.endswith('\n') else math.inf
    except (ValueError, KeyError, TypeError, RecursionError):
        logging.warning('a damaged line of the metrics log is dropped: %.80r', line)
        return math.inf


def last_step(path):
    """The step of the last line; 0 where there is none."""
    if not os.path.exists(path):
        return 0
    with open(path, encoding='utf-8', errors='replace') as file:
        return max(map(_step_of, file), default=0)
