"""Scores samples during training, and keeps the best checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from drl_tf.evaluation.evaluator import Evaluator
from drl_tf.runs import checkpoint, drawing, samples
from drl_tf.runs.request import SampleRequest
from drl_tf.runs.run_directory import SCORES

if TYPE_CHECKING:
    import numpy as np

    from drl_tf.core.recovery_likelihood import RecoveryLikelihood
    from drl_tf.runs.run_directory import Run
    from drl_tf.training.stopping import StopAtEnd


class Scores:
    """Callable that scores samples of a model in training, and keeps the checkpoint with the best score.

    Training calls it with (step, logs): the number of training steps done, and a value that is not used. The
    samples are drawn with the averaged weights. The best checkpoint has the lowest Fréchet distance. Each
    call adds a line with the scores to `evaluations.jsonl`. If SIGINT or SIGTERM interrupts the scoring, the
    samples drawn so far stay in the workdir, and the resumed run finishes the score.

    Args:
      model: the model in training.
      run: writes the files of the workdir.
      workdir: the run's directory.
      first_step: step from which training starts (0) or resumes; lines of later steps are removed from
        `evaluations.jsonl`.
      end: the callback that stops training; it tells whether SIGINT or SIGTERM came.
    """

    def __init__(self, model: RecoveryLikelihood, run: Run, workdir: str, first_step: int, end: StopAtEnd):
        self.model = model
        self.run = run
        self.workdir = workdir
        self.end = end
        self.options = model.config.evaluation
        self.evaluator = Evaluator(model.config, os.path.join(workdir, 'evaluation', 'parts'))
        run.drop_lines_after(SCORES, first_step)

    def catch_up(self, step: int) -> None:
        """Computes the score that was due when the interrupted run ended; called before training resumes.

        The model is scored if `step` is a multiple of the option `evaluate_every` or the last step of
        training, and `evaluations.jsonl` has no score of this step yet.

        Args:
          step: the step from which training resumes.
        """
        is_last = step == self.model.config.training.train_steps
        due = step and (is_last or step % self.options.evaluate_every == 0)
        if due and self.run.last_line(SCORES) < step:
            self(step)

    def __call__(self, step: int, logs: Any = None) -> None:
        if step not in self.run.steps():
            checkpoint.save(self.model, self.workdir)
        drawn = os.path.join('evaluation', f'samples-{step:08d}')
        score = self._score(os.path.join(self.workdir, drawn), step)
        self.run.keep_score(step, score, self.evaluator.name, drawn)

    def _score(self, root: str, step: int) -> dict[str, Any]:
        """Draws samples of the averaged weights into the directory `root`, and returns their scores."""
        request = SampleRequest.of(self.model.config, self.options.evaluate_samples, step=step)
        with self.model.ema_network.converged():
            drawing.draw(self.model, root, request, after_part=lambda: self.end.raise_if_asked(step))
        batches = self._until_signal(samples.read(root, self.model.config.image_shape), step)
        return self.evaluator.score(batches, request)

    def _until_signal(self, batches: Iterable[np.ndarray], step: int) -> Iterator[np.ndarray]:
        """Yields batches; a signal ends the run between two batches."""
        for batch in batches:
            self.end.raise_if_asked(step)
            yield batch
