"""Trains, samples a batch, and writes the time at which each step ended.

    python -m drl_tf.tools.bench.child_training MARKS.json [options of run.py]

`drl_tf.tools.bench` starts this program to measure the time until the first step, and the memory.
"""

import json
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock


def main(argv: Sequence[str]) -> int:
    """Trains, samples one batch, and writes the time at which each training step ended.

    Args:
      argv: first the path of the JSON file for the times, in seconds since the epoch; then options of
        `run.py`.

    Returns:
      The exit code of training.
    """
    import keras

    from drl_tf.cli import main as command
    from drl_tf.training import callbacks

    marks: list[float] = []
    models: list[Any] = []
    in_order = callbacks.in_order

    class Marks(keras.callbacks.Callback):
        """Records the time at the end of each step."""

        def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            if logs:
                float(logs['loss'])  # Waits for the device.
            marks.append(time.time())

    def with_marks(model: Any, *args: Any) -> list[Any]:
        models.append(model)
        return [Marks(), *in_order(model, *args)]

    with mock.patch.object(callbacks, 'in_order', with_marks):
        code = command.main(['run.py', *argv[1:]])
    if code == 0:
        model = models[-1]
        model.sample(model.config.sampling.sample_batch_size, [0, 3])
        pathlib.Path(argv[0]).write_text(json.dumps(marks), encoding='utf-8')
    return code


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
