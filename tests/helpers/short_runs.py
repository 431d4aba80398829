"""Processes of `drl_tf.tools.kills` whose runs have 16 steps, and seldom collect garbage."""

import gc
import multiprocessing

from drl_tf.tools import kills

_get_context = multiprocessing.get_context
_OPTIONS = ['--train_steps=16', '--evaluate_every=7', '--evaluate_samples=16', '--cpu_split=no']


class Context:
    """Stands in for a context of `multiprocessing`; its processes change the options of `kills` first."""

    def __init__(self, method):
        self._context = _get_context(method)

    def set_forkserver_preload(self, names):
        self._context.set_forkserver_preload(names)

    def Process(self, target, args=()):
        return self._context.Process(target=shortened, args=(target, *args))


def shortened(target, *arguments):
    """What a process does: the function of `kills` that it was given, with other options."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    kills.OPTIONS += _OPTIONS
    target(*arguments)
