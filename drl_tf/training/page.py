"""Writes `report.html`, the page of a run, while the run trains."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from absl import logging

from drl_tf.base.errors import DivergenceError, Interrupted, one_line
from drl_tf.distributed import chief, workers
from drl_tf.report import pages

_SHARE = 0.01  # Largest share of the training time that goes into the page.


class Page:
    """Callable that writes `report.html` from the files of a run.

    Training calls it with (step, logs) every --checkpoint_every steps; both arguments are ignored. Some
    calls write nothing, so that writing takes at most 1 % of the time. If writing fails, a warning is logged
    and training goes on. With several workers, only the chief (the first worker) writes.

    Args:
      workdir: the run's directory.
      clock: function that returns the time in seconds.
    """

    def __init__(self, workdir: str, clock: Callable[[], float] = time.monotonic):
        self.workdir = workdir
        self._clock = clock
        self._next = 0.0

    def __call__(self, step: int, logs: Any = None) -> None:
        self._write_if_due()

    @contextlib.contextmanager
    def at_end(self) -> Iterator[None]:
        """Context manager around training: writes the page when training ends, diverges or is interrupted."""
        try:
            yield
        except (DivergenceError, Interrupted):
            self._write()
            workers.all_received()
            raise
        self._write()

    @chief.only
    def _write_if_due(self) -> None:
        begin = self._clock()
        if begin >= self._next:
            self._write()
            end = self._clock()
            self._next = end + (end - begin) / _SHARE

    @chief.only
    def _write(self) -> None:
        try:
            pages.write(self.workdir)
        except Exception as error:  # An error in the page must not end a training of days.
            logging.warning('the page of the run was not written: %s', one_line(error))
