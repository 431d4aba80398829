"""Scores of samples while training, and the checkpoint of the best one."""

import os

from drl_tf.evaluation.evaluator import Evaluator
from drl_tf.runs import checkpoint, drawing, samples
from drl_tf.runs.request import SampleRequest
from drl_tf.runs.run_directory import SCORES


class Scores:
    """An action that scores samples of the averaged weights, and keeps the checkpoint of the lowest Fréchet
    distance.

    Each score is a line of `evaluations.jsonl`; lines of steps after `first_step` are dropped first, as in
    `MetricsLog`. A signal ends the run between two parts of the sampling: the step is saved, the samples
    stay, and it is scored when the run goes on.
    """

    def __init__(self, model, run, workdir, first_step, end):
        self.model = model
        self.run = run
        self.workdir = workdir
        self.end = end
        self.options = model.config.evaluation
        self.evaluator = Evaluator(model.config, os.path.join(workdir, 'evaluation', 'parts'))
        run.drop_lines_after(SCORES, first_step)

    def catch_up(self, step):
        """Scores the step that training goes on from, where that was due and was interrupted."""
        due = step and (
            step % self.options.evaluate_every == 0 or step == self.model.config.training.train_steps
        )
        if due and self.run.last_line(SCORES) < step:
            self(step)

    def __call__(self, step, logs=None):
        if step not in self.run.steps():
            checkpoint.save(self.model, self.workdir)
        drawn = os.path.join('evaluation', f'samples-{step:08d}')
        score = self._score(os.path.join(self.workdir, drawn), step)
        self.run.keep_score(step, score, self.evaluator.name, drawn)

    def _score(self, root, step):
        """Draws samples of the averaged weights into a directory, and scores them."""
        request = SampleRequest.of(self.model.config, self.options.evaluate_samples, step=step)
        with self.model.converged_average():
            drawing.draw(self.model, root, request, after_part=lambda: self.end.raise_if_asked(step))
        batches = self._until_signal(samples.read(root, self.model.config.image_shape), step)
        return self.evaluator.score(batches, self.options.evaluate_samples, labelled=True)

    def _until_signal(self, batches, step):
        for batch in batches:
            self.end.raise_if_asked(step)
            yield batch
