"""Training by recovery likelihood: the Keras model and its training step (paper, Algorithm 1)."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.core import conditionals, diffusion, graphs, microbatches, noise, objectives, weight_updates
from drl_tf.core.batch import Batch
from drl_tf.core.diffusion import at, per_image
from drl_tf.core.energy_model import EnergyModel
from drl_tf.core.level_mean import LevelMean, rms, summed_over_replicas
from drl_tf.core.noise import Dropout, Seed
from drl_tf.core.sampling import Draw
from drl_tf.core.saving import SavedModel
from drl_tf.core.weight_updates import Learner, LossesAndGradients
from drl_tf.core.weights import Weights

_SCORE_MEANS = ('loss', 'gradient_norm')
_CONTRASTIVE_MEANS = ('loss', 'f_pos', 'f_neg', 'displacement', 'gradient_norm')


class RecoveryLikelihood(graphs.FitHooks, SavedModel, EnergyModel):
    """An `EnergyModel` trained by recovery likelihood, or by denoising score matching.

    Train it with Keras `fit` on batches of images, float32 [B, H, W, C] in [-1, 1]. If the model has classes,
    a batch is a pair (images, labels): labels int32 [B], class + 1 of each image, or 0 for no class.

    Args:
      config: the configuration of the model, a `config.Config`.
      attempt: how often training went back to an earlier checkpoint; after each return it draws new noise.

    Attributes:
      first_bad_step: first step with a loss, gradient or weight that is not finite, or a loss above the
        option `max_loss`; -1: no such step. The averaged weights stop moving at this step. int64 [].
      steps_before: training steps that were taken before the model got its optimizers.
      level_means: {name of a logged value: its mean at each noise level, a `LevelMean`}.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> RecoveryLikelihood(Config().replace(image_size=8, image_channels=1, channels=8)).noted()
      ('loss', 'f_pos', 'f_neg', 'displacement', 'gradient_norm')
    """

    def __init__(self, config: Any, attempt: int = 0) -> None:
        super().__init__(config)
        self.attempt = attempt
        self.steps_before = 0
        self.first_bad_step = tf.Variable(
            -1,
            dtype=tf.int64,
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        self._noted = self.noted()
        self.level_means = {name: LevelMean(self.num_noises, name=name) for name in self._noted}

    @property
    def num_noises(self) -> int:
        """T, the number of noise levels for which training logs values."""
        return self.schedule.num_levels

    def noted(self) -> tuple[str, ...]:
        """Returns the names of the values that training logs for each noise level, such as 'loss'."""
        return _SCORE_MEANS if self.config.training.objective == 'dsm' else _CONTRASTIVE_MEANS

    def losses_and_gradients(self, batch: Batch) -> LossesAndGradients:
        """Returns {name of a loss: (loss, gradients)} of a microbatch; `train_step` adds up all of these.

        loss: sum over the images / global batch size. gradients: one per variable that the loss trains.
        """
        return self._match_scores(batch) if self.config.training.objective == 'dsm' else self._contrast(batch)

    @property
    def step(self) -> int:
        """Number of training steps taken."""
        return int(self.optimizer.iterations.value.read_value())

    @property
    def steps_taken(self) -> tf.Tensor:
        """Number of training steps taken, `steps_before` included, an integer []."""
        return self.optimizer.iterations.value + self.steps_before

    @property
    def learners(self) -> dict[str, Learner]:
        """{name of a loss: (network that the loss trains, its optimizer)}; needs a compiled model."""
        return {'loss': (self.network, self.optimizer)}

    @property
    def optimizers(self) -> list[Any]:
        """The optimizers of all networks that the compiled model trains."""
        return [optimizer for _, optimizer in self.learners.values()]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Takes a training step on `data`, a replica's images, or (images, labels) if the model has classes.

        `fit` calls it. Returns {name: float32 []}: the losses, summed over replicas, and 'gradient_norm'.
        """
        options = self.config.training
        replica = tf.distribute.get_replica_context()
        batch = self.batch_of(data, replica.replica_id_in_sync_group)

        def of_part(begin: int | tf.Tensor, *rows: tf.Tensor) -> LossesAndGradients:
            images, level, labels, angle = rows
            first = batch.first + begin
            return self.losses_and_gradients(Batch(images, level, labels, batch.seed, first, angle))

        # Losses and gradients, one microbatch at a time.
        rows = (batch.images, batch.level, batch.labels, batch.angle)
        nothing = weight_updates.no_gradients(self.learners)
        learnt = microbatches.summed(of_part, rows, options.microbatches, nothing)

        # Once per step, move u of spectral normalisation, then the weights, then the averages.
        self.network.update_u()
        norms = {}
        for name, (network, optimizer) in self.learners.items():
            norms[name] = weight_updates.apply_summed(learnt[name][1], network, optimizer, options.clip_norm)
        losses = {name: replica.all_reduce('sum', loss) for name, (loss, _) in learnt.items()}
        sound = self._note_soundness(losses['loss'], *norms.values(), *losses.values())
        weight_updates.move_averages(self.averages, self.optimizer.iterations.value, options.ema_decay, sound)
        return {**losses, 'gradient_norm': norms['loss']}

    def batch_of(self, data: Any, replica: int | tf.Tensor) -> Batch:
        """Returns the `data` of replica number `replica` with random levels; some labels are hidden."""
        images, labels = data if self.config.data.num_classes else (data, None)
        options = self.config.training
        size = images.shape[0]
        first = replica * size
        root = noise.root(options.seed, noise.TRAINING)
        seed = noise.fold(root, self.attempt, self.optimizer.iterations.value)
        levels, angles = self.draw_levels(seed)
        if labels is not None:
            hidden = noise.dropped(seed, options.label_dropout, options.batch_size)
            labels = tf.where(tf.slice(hidden, [first], [size]), 0, labels)
        level, angle = (tf.slice(values, [first], [size]) for values in (levels, angles))
        return Batch(images, level, labels, seed, first, angle)

    def draw_levels(self, seed: Seed) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws a noise level t, uniform over 0..T-1, for each of the B images of the batch of all replicas.

        Returns t, int32 [B], and the same levels as angles in radians (`Schedule.angle`), float32 [B].
        """
        levels = noise.levels(seed, self.num_noises, self.config.training.batch_size)
        return levels, per_image(self.schedule.angle, levels)

    def _contrast(self, batch: Batch) -> LossesAndGradients:
        """Computes the losses of Algorithm 1 and their gradients."""
        # Positive pairs (x_t, x_{t+1}) by the forward process; y+ = m_t x_t.
        x_t, x_next = self._forward_pair(batch)
        y_pos = at(self.schedule.m, batch.level) * x_t

        # Negatives y-: K Langevin steps on p(y | x_{t+1}), from x_{t+1} or from a proposal.
        with tf.GradientTape() as start_tape:
            seed = noise.fold(batch.seed, noise.START)
            draw = Draw(batch.first, Weights.RAW, batch.terms)
            start, proposal = self.chain_start(x_next, batch.level, seed, draw, training=True)
        y_neg, chain_gradient = self.chain(start, x_next, batch.level, batch.seed, batch.first, batch.labels)

        # The gradient of (s_1 / s_{t+1}) (f(y-, t) - f(y+, t)) + l2 f^2; y- and y+ count as constants.
        options = self.config.training
        dropout = self.dropout_of(batch.seed, batch.first, options.batch_size + batch.first)
        with tf.GradientTape() as tape:
            losses, f_pos, f_neg = self.contrastive_loss(y_pos, y_neg, batch.level, batch.labels, dropout)
            loss = tf.reduce_sum(losses + options.energy_l2 * (f_pos**2 + f_neg**2) / 2) / options.batch_size
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self.note(batch.level, losses, f_pos, f_neg, rms(y_neg - start), rms(chain_gradient))
        others = self.start_gradients(start_tape, batch, start, proposal, x_next, y_neg)
        return {'loss': (loss, gradients), **others}

    def _match_scores(self, batch: Batch) -> LossesAndGradients:
        """Computes the loss of denoising score matching, without chains, and its gradients."""
        options = self.config.training
        _, x_next = self._forward_pair(batch)
        time = per_image(self.schedule.time, batch.level)
        precision = per_image(self.precision, batch.level)
        dropout = self.dropout_of(batch.seed, batch.first)
        with tf.GradientTape() as tape:
            prepared = self.network.prepare(time, batch.labels)

            def log_density(y: tf.Tensor) -> tf.Tensor:
                return precision * self.network(y, prepared, dropout=dropout, remat=options.remat)

            losses, gradient = objectives.denoising(
                self.schedule, log_density, batch.images, x_next, batch.level
            )
            loss = tf.reduce_sum(losses) / options.batch_size
        self.note(batch.level, losses, rms(gradient))
        return {'loss': (loss, weight_updates.gradients_of_slopes(tape, loss, self.network))}

    def contrastive_loss(
        self,
        y_pos: tf.Tensor,
        y_neg: tf.Tensor,
        level: tf.Tensor,
        labels: tf.Tensor | None = None,
        dropout: Dropout | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Computes the loss of recovery likelihood: how much higher the network rates y- than y+.

        f is the output of the network, and s_{t+1} the standard deviation of the noise from level t to t + 1.
        Returns (s_1 / s_{t+1}) (f(y-, t) - f(y+, t)), f(y+, t) and f(y-, t), each float32 [B].

        Args:
          y_pos: y+ = m_t x_t, scaled noisy training images x_t; `schedule.m` has m_t. float32 [B, H, W, C].
          y_neg: y-, the last states of the chains at the same levels, float32 [B, H, W, C].
          level: noise level t of each image, 0 to T - 1, int32 [B].
          labels: class + 1, or 0 for no class, int32 [B]; None for a model without classes.
          dropout: `noise.Dropout`, applied to `y_pos` and `y_neg` alike; None for no dropout.
        """
        both = None if labels is None else tf.tile(labels, [2])
        prepared = self.network.prepare(per_image(self.schedule.time, tf.tile(level, [2])), both)
        y = tf.concat([y_pos, y_neg], axis=0)
        f = self.network(y, prepared, dropout=dropout, remat=self.config.training.remat)
        f_pos, f_neg = tf.split(f, 2)
        return objectives.contrastive(self.schedule, f_pos, f_neg, level), f_pos, f_neg

    def _forward_pair(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Diffuses the images to (x_t, x_{t+1}); with the option `shared_noise`, both have the same noise."""
        eps = batch.noise(noise.FORWARD, 0)
        eps_next = None if self.config.training.shared_noise else batch.noise(noise.FORWARD, 1)
        return diffusion.forward_pair(self.schedule, batch.images, batch.level, eps, eps_next)

    @graphs.graph
    def chain(
        self,
        start: tf.Tensor,
        x_next: tf.Tensor,
        level: tf.Tensor,
        seed: Seed,
        first: int | tf.Tensor,
        labels: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws negatives y_t = m_t x_t given noisier images x_{t+1} by Langevin steps with the raw weights.

        `start`: first y_t. `x_next`: x_{t+1}. `level`: t. `labels`: class + 1 (0: none), int32 [B], or None.
        `first`: index of the first image; the noise of image i depends on (seed, first + i). Returns the last
        y_t, and the gradient of log p(y_t | x_{t+1}) in the last step, each float32 [B, H, W, C].
        """

        def step_noise(k: int | tf.Tensor) -> tf.Tensor:
            return noise.normal(noise.fold(seed, noise.LANGEVIN, k), tf.shape(x_next), first)

        log_density = self.density_at(level, Weights.RAW, ((labels, 1.0),))
        args = (start, x_next, level, conditionals.steps_at(self.config, level), step_noise)
        return conditionals.conditional_chain(self.schedule, log_density, *args)

    def start_gradients(
        self,
        tape: tf.GradientTape,
        batch: Batch,
        start: tf.Tensor,
        proposal: tf.Tensor,
        x_next: tf.Tensor,
        y_neg: tf.Tensor,
    ) -> LossesAndGradients:
        """Returns {}; a subclass with a network that proposes chain starts returns its loss and gradients.

        The form is {name of a loss: (loss, gradients)}. `tape` recorded the computation of `start`, the
        chains' first states, and of its mean `proposal` from `x_next`. `y_neg`: the chains' last states.
        """
        del tape, batch, start, proposal, x_next, y_neg
        return {}

    def dropout_of(self, seed: Seed, *firsts: int | tf.Tensor) -> Dropout | None:
        """Returns dropout for images whose indices start at each of `firsts`; None if the model has none."""
        return Dropout(noise.fold(seed, noise.DROPOUT), firsts) if self.config.network.dropout else None

    def note(self, level: tf.Tensor, *values: tf.Tensor) -> None:
        """Adds `values`, a float32 [B] per name in `noted()`, to `level_means` at `level`, int32 [B]."""
        for name, value in zip(self._noted, values, strict=True):
            self.level_means[name].update_state(value, level)

    def _note_soundness(self, loss: tf.Tensor, *values: tf.Tensor) -> tf.Tensor:
        """Updates `first_bad_step` on the device, and returns whether no step was bad so far, bool []."""
        weights = [weight for _, network in self.averages for weight in network.weights]
        finite = [tf.reduce_all(tf.math.is_finite(tensor)) for tensor in (loss, *values, *weights)]
        max_loss = self.config.training.max_loss
        if self.config.training.objective == 'dsm':  # The dsm loss sums over the pixels.
            max_loss *= math.prod(self.config.image_shape)
        good = tf.reduce_all(finite) & (tf.abs(loss) <= max_loss)
        step = tf.cast(self.optimizer.iterations.value, tf.int64)
        first = tf.where((self.first_bad_step < 0) & ~good, step, self.first_bad_step)
        self.first_bad_step.assign(first)
        return first < 0

    def level_sums(self) -> dict[str, np.ndarray]:
        """Sums the variables of `level_means` over replicas, {their path: sum}; all workers call this."""
        paths = [variable.path for mean in self.level_means.values() for variable in mean.variables]
        return {path: total.numpy() for path, total in zip(paths, self._level_sums(), strict=True)}

    @graphs.graph
    def _level_sums(self) -> list[tf.Tensor]:
        variables = [variable for mean in self.level_means.values() for variable in mean.variables]
        return summed_over_replicas(variables, self.distribute_strategy)
