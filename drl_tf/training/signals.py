"""SIGINT and SIGTERM during training: noted, so that the step at hand is finished and saved."""

import signal
import threading


class Signals:
    """Context manager: a first SIGINT or SIGTERM is noted, a second ends the process at once.

    At the end of the block the signals do what they did before.

    Attributes:
      number: the signal that came to this process, or None.
    """

    def __init__(self):
        self.number = None
        self._former = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error):
        for number, former in self._former.items():
            signal.signal(number, former)

    def _note(self, number, frame):
        if self.number:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.number = number
