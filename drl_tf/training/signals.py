"""Notes SIGINT and SIGTERM during training, so that training can finish and save the current step."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from drl_tf.base.errors import DivergenceError, Interrupted


class Signals:
    """Context manager that notes a SIGINT or SIGTERM instead of ending the process.

    `with Signals() as signals:` gives the object whose `number` tells whether a signal came. A second signal
    ends the process at once. On exit, the former signal handlers are restored. If a signal came and training
    diverged, the block raises `Interrupted` instead of `DivergenceError`. Outside the main thread, the
    context manager notes no signals.

    Attributes:
      number: number of the signal that came; None if none came.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)
        if self.number and isinstance(error, DivergenceError):
            raise Interrupted(
                f'{signal.Signals(self.number).name} came while training diverged at step {error.step}; the '
                'same command (without --restart) continues from the last checkpoint',
                self.number,
            ) from error

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.number = number
