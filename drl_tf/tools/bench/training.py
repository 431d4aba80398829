"""Measures the parts of a training step, and the time that only their convolutions take."""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from drl_tf.config.config import Config
from drl_tf.core import batch_parts
from drl_tf.core.langevin import value_gradient
from drl_tf.core.weights import Weights
from drl_tf.data import pipeline
from drl_tf.planning.flops import cost
from drl_tf.runs.run_directory import Run
from drl_tf.tools.bench import convolutions
from drl_tf.tools.bench.settings import Settings, configurations
from drl_tf.tools.bench.timing import in_turn, spread
from drl_tf.training import callbacks
from drl_tf.training.optimizers import compiled_model
from drl_tf.training.page import Page
from drl_tf.training.progress import Stopwatch
from drl_tf.training.signals import Signals
from drl_tf.training.stopping import StopAtEnd, TimeLimit
from drl_tf.training.train import Task

_MANY_STEPS = 10**9
_LOOK_EVERY = 10


def lines(settings: Settings) -> Iterator[dict[str, Any]]:
    """Measures the parts of a training step, and sampling, for all presets and precisions.

    Args:
      settings: the settings of the benchmarks.

    Yields:
      A dict for each preset and precision. Beside 'part' (always 'training') and 'name', its main entries are
      the following; each is a dict with 'median', 'low' and 'high' (the quartiles) and 'count' (the rounds).
      The values are seconds, or, for the last three entries, ratios.

        input           getting a batch from the pipeline, with nothing else running
        step            the whole step on the device: the sum of chain, pass and update
        chain           K Langevin steps: `step` minus the time of a step whose chains do not move
        pass            the losses, their gradients with respect to the weights, and the start of the chains:
                        time of a step whose chains do not move, minus `update`
        update          optimizer, averaged weights and the rest: a step that reads constant losses and
                        gradients instead of computing them
        host            time that `fit` adds to `step` if the next batch is ready: Python and callbacks
        sample          sampling as many images as the entry 'sample_images' says
        rest_share      (input + update + host) / (input + step + host)
        chain_utilisation, pass_utilisation
                        time of only the convolutions, divided by `chain` or by `pass`

      With score matching there are no chains; 'chain' and 'chain_utilisation' are missing. At the end, a dict
      of part 'precision' for each preset measured in both precisions. Its entry 'bfloat16_of_float32' is the
      time of a step in bfloat16 divided by the time in float32.
    """
    with tempfile.TemporaryDirectory() as directory:
        subjects = [
            Subject(name, config, os.path.join(directory, str(number)))
            for number, (name, config) in enumerate(configurations(settings, directory).items())
        ]
        functions = {
            (subject.name, part): function
            for subject in subjects
            for part, function in subject.functions().items()
        }
        seconds = in_turn(functions, settings.rounds)
        for subject in subjects:
            mine = {part: values for (name, part), values in seconds.items() if name == subject.name}
            yield subject.line(mine)
        for preset in settings.presets:
            slow, fast = (seconds.get((f'{preset}, {name}', 'step')) for name in ('float32', 'bfloat16'))
            if slow is not None and fast is not None:
                ratio = dataclasses.asdict(spread(fast / slow))
                yield {'part': 'precision', 'name': preset, 'bfloat16_of_float32': ratio}


def whole_step(model: Any) -> Any:
    """Returns the training step of a compiled model as a `tf.function` of a batch."""
    return tf.function(model.train_step, jit_compile=model.jit_compile, autograph=False)


def update_alone(model: Any, batch: Any) -> Any:
    """Returns a training step for such batches that reads losses and gradients, and computes neither."""
    given = {
        name: (
            tf.Variable(0.0, trainable=False),
            [tf.Variable(1e-3 * tf.random.stateless_normal(weight.shape, [0, 1]), trainable=False)
             for weight in network.trainable_variables],
        )
        for name, (network, _) in model.learners.items()
    }  # fmt: skip

    def read(model: Any, batch: Any) -> Any:
        return tf.nest.map_structure(tf.convert_to_tensor, given)

    step = whole_step(model)
    with mock.patch.object(type(model), 'losses_and_gradients', read):
        step.get_concrete_function(batch)
    return step


class Subject:
    """A model whose training and sampling are measured.

    `functions` returns the functions to time. `line` computes the results from their times.

    Args:
      name: '<preset>, <precision>'.
      config: the configuration of the model.
      workdir: directory for the files that the callbacks of training write.
    """

    def __init__(self, name: str, config: Config, workdir: str) -> None:
        self.name = name
        self.config = config.with_flags(
            train_steps=_MANY_STEPS, checkpoint_every=_MANY_STEPS, grid_every=0, evaluate_every=0
        )
        self.model: Any = compiled_model(self.config)
        self.batches = iter(
            pipeline.training_images(config.data, config.training.batch_size, config.training.seed)
        )
        self.batch = next(self.batches)
        self.num_parts = batch_parts.num_parts(config.training.batch_size)
        self.has_chain = config.training.objective == 'contrastive'
        self.step = whole_step(self.model)
        self.without_chain = self._without_chain()
        self.update = update_alone(self.model, self.batch)
        self.fit = _Fit(self.model, self.batches, workdir)
        self.chain_convolutions = self._of_chain() if self.has_chain else []
        self.pass_convolutions = convolutions.of_graph(self.without_chain, self.batch)

    def _without_chain(self) -> Any:
        """Returns a training step whose chains end where they start."""
        step = whole_step(self.model)
        if not self.has_chain:
            return step

        def stay(start: tf.Tensor, *_: Any) -> tuple[tf.Tensor, tf.Tensor]:
            return start, tf.zeros_like(start)

        with mock.patch.object(type(self.model), 'chain', staticmethod(stay)):
            step.get_concrete_function(self.batch)
        return step

    def _of_chain(self) -> list[convolutions.Convolution]:
        """Returns the convolutions of one Langevin step."""
        model = self.model
        count = self.config.training.batch_size // self.num_parts

        @tf.function(autograph=False)
        def gradient(y: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
            return value_gradient(model.density_at(level, Weights.RAW, ((None, 1.0),)), y)

        images = tf.zeros([count, *self.config.image_shape])
        return self.num_parts * convolutions.of_graph(gradient, images, tf.zeros([count], tf.int32))

    @property
    def gradients(self) -> int:
        """Number of gradients with respect to the images in the longest chain: one for each of its K steps.

        If K is 0, it is 1 with --proposal=x_next, for the normal approximation that replaces a chain; else 0.
        """
        longest = max(self.config.steps_by_level)
        return longest or int(self.config.diffusion.proposal == 'x_next')

    def functions(self) -> dict[str, Callable[[], object]]:
        """Returns the functions to time, {name: callable without arguments}.

        'input' gets the next batch, 'sample' draws a batch, and 'fit' takes training steps with the callbacks
        of a run. 'step' takes a training step, 'without chain' a step whose chains do not move, 'update' a
        step with constant losses and gradients. Two functions compute only convolutions: 'pass alone' those
        of the losses and their gradients, 'chain alone' those of the longest chain. For a model trained
        without chains, 'without chain' and 'chain alone' are missing.
        """

        def on_batch(step: Any) -> Callable[[], float]:
            return lambda: float(step(self.batch)['loss'])

        count = self.config.sampling.sample_batch_size
        found: dict[str, Callable[[], object]] = {
            'input': lambda: next(self.batches),
            'step': on_batch(self.step),
            'update': on_batch(self.update),
            'fit': self.fit.step,
            'pass alone': convolutions.alone(self.pass_convolutions, 1, self.num_parts),
            'sample': lambda: self.model.sample(count, [0, 3], most_parts=1)[-1].numpy(),
        }
        if self.has_chain:
            found['without chain'] = on_batch(self.without_chain)
            found['chain alone'] = convolutions.alone(self.chain_convolutions, self.gradients, self.num_parts)
        return found

    def line(self, seconds: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Computes the result for this model from the measured times: medians, quartiles, and rates.

        Args:
          seconds: {name of a function, a key of `functions()`: seconds of its call in each round, float64
            [rounds]}.

        Returns:
          A line of the results, a dict with these entries:

          - 'part' (always 'training') and 'name'.
          - 'batch' (images per training step), 'K' (steps of the longest chain) and 'sample_images' (images
            that a call of the function 'sample' draws).
          - times in seconds, such as 'step', and the ratios 'rest_share', 'pass_utilisation' and
            'chain_utilisation'. Each is a dict with 'median', 'low' and 'high' (the quartiles) and 'count'
            (the rounds). The docstring of `lines` in this module explains the main ones.
          - rates (images and operations per second), and the numbers of convolutions by kind.
        """
        without_chain = seconds.get('without chain', seconds['step'])
        parts = {
            'input': seconds['input'],
            'step': seconds['step'],
            'chain': seconds['step'] - without_chain,
            'pass': without_chain - seconds['update'],
            'update': seconds['update'],
            'host': seconds['fit'] / self.config.training.steps_per_execution - seconds['step'],
            'sample': seconds['sample'],
            'pass alone': seconds['pass alone'],
        }
        whole = parts['input'] + parts['step'] + parts['host']
        parts['rest_share'] = (parts['input'] + parts['update'] + parts['host']) / whole
        parts['pass_utilisation'] = parts['pass alone'] / parts['pass']
        if self.has_chain:
            parts['chain alone'] = seconds['chain alone']
            parts['chain_utilisation'] = parts['chain alone'] / parts['chain']
        else:
            del parts['chain']
        found = {name: spread(values) for name, values in parts.items()}
        return {
            'part': 'training',
            'name': self.name,
            'batch': self.config.training.batch_size,
            'K': max(self.config.steps_by_level),
            'sample_images': self.config.sampling.sample_batch_size,
            **{name: dataclasses.asdict(value) for name, value in found.items()},
            **self._rates({name: value.median for name, value in found.items()}),
        }

    def _rates(self, median: Mapping[str, float]) -> dict[str, Any]:
        """Returns images and operations per second."""
        costs = cost(self.model)
        of_pass = convolutions.flops(self.pass_convolutions)
        count = self.config.sampling.sample_batch_size
        found = {
            'images_per_s': count / median['sample'],
            'step_flops_per_s': costs['FLOPs of a training step'] / median['step'],
            'sample_flops_per_s': count * costs['FLOPs to sample an image'] / median['sample'],
            'pass_convolutions': convolutions.counted(self.pass_convolutions),
            'pass_flops_per_s': of_pass / median['pass'],
            'pass_alone_flops_per_s': of_pass / median['pass alone'],
        }
        if self.has_chain:
            of_chain = convolutions.flops(self.chain_convolutions) * self.gradients
            found['chain_convolutions'] = convolutions.counted(self.chain_convolutions)
            found['chain_flops_per_s'] = of_chain / median['chain']
            found['chain_alone_flops_per_s'] = of_chain / median['chain alone']
        return found


class _Fit:
    """Takes training steps like Keras `fit`, with a run's callbacks except the progress bar.

    Args:
      model: a compiled model.
      batches: iterator over batches.
      workdir: directory for the files that the callbacks write.
    """

    def __init__(self, model: Any, batches: Iterator[Any], workdir: str) -> None:
        config = model.config
        end = StopAtEnd(0, config.training.train_steps, TimeLimit(0), Signals(), _LOOK_EVERY)
        task = Task(config, workdir, Run(workdir), Page(workdir), None, Weights.EMA)
        actions: Sequence[Any] = callbacks.in_order(model, task, 0, end, (Stopwatch(), _LOOK_EVERY))
        self.model = model
        self.batches = batches
        self.callbacks = keras.callbacks.CallbackList(actions, model=model)
        self.count = 0
        model.make_train_function()
        model.stop_training = False
        os.makedirs(workdir, exist_ok=True)

    def step(self) -> None:
        """Takes `steps_per_execution` steps, and waits for the loss of the last one."""
        end = self.count + self.model.steps_per_execution
        self.callbacks.on_train_batch_begin(self.count)
        logs = self.model.train_function(self.batches)
        self.callbacks.on_train_batch_end(end - 1, logs)
        float(logs['loss'])
        self.count = end
