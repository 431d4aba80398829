"""Logs of a run: files with one JSON object per line, each with the training step as 'step'."""

import json
import math
import os

from absl import logging

from drl_tf.base.files import written_aside


def drop_after(path: str, step: int) -> None:
    """Removes the lines of training steps above `step` from a log; an interrupted run may have left them."""
    if os.path.exists(path):
        with open(path, encoding='utf-8', errors='replace') as file:
            kept = [line for line in file if _step_of(line) <= step]
        with written_aside(path) as file:
            file.writelines(kept)


def _step_of(line: str) -> float:
    """Returns the step of a line; infinity, with a warning, if the line is damaged."""
    try:
        return int(json.loads(line)['step']) if line.endswith('\n') else math.inf
    except (ValueError, KeyError, TypeError, RecursionError):
        logging.warning('dropping a damaged line of the metrics log: %.80r', line)
        return math.inf


def last_step(path: str) -> float:
    """Returns the highest training step in a log; 0 if the log is missing or empty."""
    if not os.path.exists(path):
        return 0
    with open(path, encoding='utf-8', errors='replace') as file:
        return max(map(_step_of, file), default=0)
