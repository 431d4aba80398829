"""Scores of samples while training, and the checkpoint of the best one."""

import os
import shutil
import time

from absl import logging

from drl_tf.distributed import workers
from drl_tf.evaluation.evaluator import Evaluator
from drl_tf.runs import checkpoint, drawing, json_lines, samples
from drl_tf.runs.request import SampleRequest

_KIND = ('num_samples', 'extractor_hash', 'real')


class Scores:
    """An action that scores samples of the averaged weights, and keeps the checkpoint of the lowest Fréchet
    distance.

    Each score is a line of `evaluations.jsonl`; lines of steps after `first_step` are dropped first, as in
    `MetricsLog`. A signal ends the run between two parts of the sampling: the step is saved, the samples
    stay, and it is scored when the run goes on.
    """

    def __init__(self, model, workdir, first_step, log, end):
        self.model = model
        self.workdir = workdir
        self.log = log
        self.end = end
        self.options = model.config.evaluation
        self.directory = os.path.join(workdir, 'evaluation')
        self.evaluator = Evaluator(model.config, os.path.join(self.directory, 'parts'))
        self.path = os.path.join(workdir, 'evaluations.jsonl')
        workers.by_chief(lambda: json_lines.drop_after(self.path, first_step))

    def catch_up(self, step):
        """Scores the step that training goes on from, where that was due and was interrupted."""
        due = step and (
            step % self.options.evaluate_every == 0 or step == self.model.config.training.train_steps
        )
        if due and workers.told_by_chief(lambda: json_lines.last_step(self.path)) < step:
            self(step)

    def __call__(self, step, logs=None):
        if step not in workers.told_by_chief(lambda: checkpoint.steps(self.workdir)):
            checkpoint.save(self.model, self.workdir)
        root = os.path.join(self.directory, f'samples-{step:08d}')
        request = SampleRequest.of(self.model.config, self.options.evaluate_samples, step=step)
        with self.model.converged_average():
            drawing.draw(self.model, root, request, after_part=lambda: self.end.raise_if_asked(step))
        drawn = self._until_signal(samples.read(root, self.model.config.image_shape), step)
        score = self.evaluator.score(drawn, self.options.evaluate_samples, labelled=True)
        workers.by_chief(lambda: self._keep(root, step, score))

    def _keep(self, root, step, score):
        """Writes down a score, and keeps its checkpoint where it is the best."""
        self._keep_best(step, {key: score[key] for key in (self.evaluator.name, *_KIND)})
        self.log.write(self.path, {'step': step, 'time': time.time(), **score}, 'evaluation/')
        shutil.rmtree(root)

    def _keep_best(self, step, measure):
        """Keeps the checkpoint where it is the best of its kind of score; the best one of another kind is put
        aside."""
        best, name = checkpoint.best_score(self.workdir), self.evaluator.name
        if best and (
            not isinstance(best.get(name), (int, float))
            or any(measure[key] != best.get(key) for key in _KIND)
        ):
            aside = checkpoint.put_best_aside(self.workdir)
            logging.warning(
                'the best checkpoint so far, of other samples or real images, is now in %s', aside
            )
            best = None
        if best is None or measure[name] < best[name]:
            checkpoint.keep_best(self.workdir, step, measure)

    def _until_signal(self, batches, step):
        for batch in batches:
            self.end.raise_if_asked(step)
            yield batch
