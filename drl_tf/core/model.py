"""The model: an energy network, a noise schedule and a Langevin loop, trained by recovery likelihood (paper,
Algorithm 1)."""

import contextlib
import math

import keras
import tensorflow as tf

from drl_tf.core import diffusion, graphs, microbatches, noise, sampling
from drl_tf.core.diffusion import at, per_image
from drl_tf.core.guidance import UNCONDITIONAL
from drl_tf.core.level_mean import LevelMean, rms
from drl_tf.core.networks.energy import EnergyNetwork
from drl_tf.core.networks.mlp import MLPNetwork

_CONTRASTIVE_MEANS = ('loss', 'f_pos', 'f_neg', 'displacement', 'gradient_norm')


def _call(function, arguments):
    return function(*arguments)


class RecoveryLikelihood(keras.Model):
    """An energy-based model at each noise level: log p(y, t) = F(y, t) + const, F = f / delta_t^2, or f /
    s_{t+1}^2.

    Train it with Keras `fit` on batches of images, float32 [B, H, W, C] in [-1, 1], or, where it has classes,
    of pairs (images, labels), int32 [B] from 1 (0 is no class).

    Args:
      config: a `config.Config`; sampling takes K and noise scale from it. The networks compute in bfloat16
        where its precision says so, else in float32.
      attempt: how often training was rolled back; each attempt draws other noise.

    Attributes:
      schedule: the `diffusion.Schedule` of the levels that have an energy.
      walk: that of the levels that sampling visits.
      precision: F / f of each level, float64 [T].
      first_bad_step: the first step with a loss, gradient or weight that was not finite or a loss beyond
        `max_loss`, int64 []; -1 where there was none. From it on the averages stand still.
    """

    def __init__(self, config, attempt=0):
        super().__init__()
        self.config, self.attempt = config, attempt
        alike = dict(
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        self.first_bad_step = tf.Variable(-1, dtype=tf.int64, trainable=False, **alike)
        self.schedule = diffusion.SCHEDULES[config.diffusion.schedule](
            config.diffusion.num_levels, config.diffusion.b2
        )
        self.walk = self.schedule.strided(config.sampling.sampling_levels)
        self.precision = (
            self.schedule.s[1:] ** -2 if config.diffusion.energy_scale == 'noise' else self.schedule.delta**-2
        )
        self.network_dtype = 'mixed_bfloat16' if config.training.precision == 'bfloat16' else 'float32'
        self.network, self.ema_network = self._with_average(
            MLPNetwork if config.planar else EnergyNetwork, config.network, 'network'
        )
        self.averages = [(self.ema_network, self.network)]
        self._noted = ('loss', 'gradient_norm') if config.training.objective == 'dsm' else _CONTRASTIVE_MEANS
        self.level_means = {name: LevelMean(self.schedule.num_levels, name=name) for name in self._noted}
        self.built = True

    def _with_average(self, network_class, options, name):
        """A network and the one that holds its averaged weights, equal at the start."""
        shape, classes = self.config.image_shape, self.config.data.num_classes
        network, average = (
            network_class(options, shape, classes, dtype=self.network_dtype, name=n)
            for n in (name, f'ema_{name}')
        )
        average.trainable = False
        average.set_weights(network.get_weights())
        return network, average

    def level_sums(self):
        """What `level_means` have summed over all replicas, {path of the variable: float32 [T]}; all workers
        ask at once."""
        paths = [variable.path for mean in self.level_means.values() for variable in mean.variables]
        return {path: total.numpy() for path, total in zip(paths, self._level_sums(), strict=True)}

    @graphs.graph
    def _level_sums(self):
        variables = [variable for mean in self.level_means.values() for variable in mean.variables]

        def of_replica():
            return tf.distribute.get_replica_context().all_reduce(
                'sum', [variable.value + 0 for variable in variables]
            )

        return [
            self.distribute_strategy.experimental_local_results(total)[0]
            for total in self.distribute_strategy.run(of_replica)
        ]

    def make_train_function(self, force=False):
        """As in Keras, but where that does not do."""
        super().make_train_function(force)
        self.train_function = graphs.train_function(self, self.steps_per_execution) or self.train_function

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: all is built. (Under a strategy Keras would average a batch over the replicas, which fails
        for classes.)"""

    def reset_metrics(self):
        """Nothing, where `fit` begins: the means run from one line of the log to the next, also over an
        interruption."""

    @property
    def step(self):
        """How many steps were taken, an int; as every replica has it."""
        return int(self.optimizer.iterations.value.read_value())

    @property
    def learners(self):
        """What learns from which loss: {name of the loss: (network, optimizer)}, once the model is
        compiled."""
        return {'loss': (self.network, self.optimizer)}

    @property
    def optimizers(self):
        """All optimizers of the compiled model."""
        return [optimizer for _, optimizer in self.learners.values()]

    def density_at(self, level, weights='ema', terms=UNCONDITIONAL):
        """The log density of each image at its own level.

        Args:
          level: t, int32 [B].
          weights: 'ema' or 'raw'.
          terms: for models with classes, what is summed; see `terms.guided` and `terms.composed`.

        Returns:
          A callable, y float32 [B, H, W, C] -> F(y, t) float32 [B].
        """
        network = {'ema': self.ema_network, 'raw': self.network}[weights]
        time, precision = per_image(self.schedule.time, level), per_image(self.precision, level)
        parts = [(weight, network.prepare(time, labels)) for labels, weight in terms]
        return lambda y: precision * tf.add_n([weight * network(y, prepared) for weight, prepared in parts])

    def chain_start(self, x_next, level, seed, first, weights, terms, training=False):
        """Where the chains start and the mean of that proposal, float32 [B, H, W, C]: both x_{t+1}."""
        del level, seed, first, weights, terms, training
        return x_next, x_next

    @graphs.graph
    def denoise(self, x_next, level, seed, first=0, weights='ema', terms=UNCONDITIONAL):
        """Draws x_t given x_{t+1} by K Langevin steps, or by the normal approximation; see
        `sampling.denoise`."""
        return self._denoise(self.schedule, x_next, level, seed, first, weights, terms)

    @graphs.graph
    def prior(self, num_images, seed, first):
        """x_T, white noise."""
        return noise.normal(seed, [num_images, *self.config.image_shape], first)

    @graphs.graph
    def walk_levels(self, x, high, low, seed, first, weights, terms):
        """Goes from x_high down to x_low, levels of the walk; see `sampling.descend`."""

        def denoise_step(x, level, seed):
            return self._denoise(self.walk, x, tf.fill([tf.shape(x)[0]], level), seed, first, weights, terms)

        return sampling.descend(denoise_step, x, high, low, seed)

    def _denoise(self, walk, x_next, level, seed, first, weights, terms):
        options = self.config.sampling
        density_at = sampling.on_walk(
            self.schedule, walk, lambda level: self.density_at(level, weights, terms)
        )
        start, _ = self.chain_start(x_next, level, noise.fold(seed, noise.START), first, weights, terms)
        steps = self._steps(tf.gather(walk.levels, level))
        return sampling.denoise(
            walk,
            density_at,
            x_next,
            level,
            seed,
            steps,
            options.noise_scale,
            options.step_scale,
            first,
            start,
        )

    def _steps(self, level):
        """K of each image, int32 [B]; the int 0 for the normal approximation."""
        return tf.gather(self.config.steps_by_level, level) if any(self.config.steps_by_level) else 0

    @graphs.graph
    def final_denoise(self, x_0, weights='ema', terms=UNCONDITIONAL):
        """The mean of the clean image given x_0; see `sampling.tweedie`."""
        level = tf.zeros([tf.shape(x_0)[0]], tf.int32)
        return sampling.tweedie(self.schedule, self.density_at(level, weights, terms), x_0)

    def sample(
        self,
        num_images,
        seed,
        first=0,
        weights='ema',
        terms=UNCONDITIONAL,
        run=_call,
        after_part=lambda share: None,
    ):
        """Progressive sampling from white noise (paper, Algorithm 2).

        Args:
          num_images: n.
          seed: int32 [2].
          first: index of the first image; image i depends on (seed, first + i) alone.
          weights: 'ema' or 'raw'.
          terms: for models with classes, what is summed; see `terms.guided` and `terms.composed`.
          run: callable, (function, arguments) -> its result, such as the `run` of a `tf.distribute.Strategy`:
            each replica then draws n images, and `first` and the labels may hold a value for each.
          after_part: as in `sampling.progressive`.

        Returns:
          States from x_T to x_0, tensors float32 [n, H, W, C]: all T + 1, or nine of them where T is large;
          with `final_denoise` the last one is the clean image.
        """

        def descend(x, high, low):
            return run(
                self.walk_levels, (x, tf.constant(high), tf.constant(low), seed, first, weights, terms)
            )

        x = run(self.prior, (num_images, noise.fold(seed, noise.PRIOR), first))
        trajectory = sampling.progressive(descend, x, self.walk.num_levels, after_part)
        if self.config.diffusion.final_denoise:
            trajectory[-1] = run(self.final_denoise, (trajectory[-1], weights, terms))
        return trajectory

    @contextlib.contextmanager
    def converged_average(self):
        """Lends the averaged weights with converged u to what is inside; the training state stays as it
        was."""
        layers = self.ema_network.normalised_layers()
        before = [tf.identity(layer.u.value) for layer in layers]
        self.ema_network.converge_u()
        try:
            yield
        finally:
            for layer, u in zip(layers, before, strict=True):
                layer.u.assign(u)

    def contrastive_loss(self, y_pos, y_neg, level, labels=None, dropout=None):
        """(s_1 / s_{t+1}) (f(y-, t) - f(y+, t)) of each image.

        Args:
          y_pos: data y+ = m_t x_t, float32 [B, H, W, C].
          y_neg: states of the chains, like `y_pos`.
          level: t, int32 [B].
          labels: classes, int32 [B], where the model has them.
          dropout: a `noise.Dropout` for both; None drops nothing.

        Returns:
          The loss, f(y+, t) and f(y-, t), each float32 [B].
        """
        both = None if labels is None else tf.tile(labels, [2])
        prepared = self.network.prepare(per_image(self.schedule.time, tf.tile(level, [2])), both)
        f = self.network(
            tf.concat([y_pos, y_neg], axis=0), prepared, dropout=dropout, remat=self.config.training.remat
        )
        f_pos, f_neg = tf.split(f, 2)
        return per_image(self.schedule.loss_weight, level) * (f_neg - f_pos), f_pos, f_neg

    def train_step(self, data):
        """One step of Algorithm 1, or of denoising score matching, on a replica's share of the batch, a
        microbatch at a time."""
        images, labels = data if self.config.data.num_classes else (data, None)
        options, step, replica = (
            self.config.training,
            self.optimizer.iterations.value,
            tf.distribute.get_replica_context(),
        )
        seed = noise.fold([options.seed, noise.TRAINING], self.attempt, step)
        size = images.shape[0]
        first = replica.replica_id_in_sync_group * size
        level = tf.slice(noise.levels(seed, self.schedule.num_levels, options.batch_size), [first], [size])
        if labels is not None:
            hidden = tf.slice(noise.dropped(seed, options.label_dropout, options.batch_size), [first], [size])
            labels = tf.where(hidden, 0, labels)
        losses_and_gradients = self._match_scores if options.objective == 'dsm' else self._contrast

        def of_part(begin, images, level, labels):
            return losses_and_gradients(images, level, labels, seed, first + begin)

        nothing = {
            name: (0.0, [tf.zeros(v.shape) for v in network.trainable_variables])
            for name, (network, _) in self.learners.items()
        }
        learnt = microbatches.summed(of_part, (images, level, labels), options.microbatches, nothing)
        self.network.update_u()
        norms = {name: self._descend(learnt[name][1], *learner) for name, learner in self.learners.items()}
        losses = {name: replica.all_reduce('sum', loss) for name, (loss, _) in learnt.items()}
        self._average(self._is_sound(losses['loss'], *norms.values(), *losses.values()))
        return {**losses, 'gradient_norm': norms['loss']}

    def _contrast(self, images, level, labels, seed, first):
        """Runs the chains and differentiates the contrastive loss of consecutive images, `first` the index of
        the first in the batch.

        Returns:
          {name of a loss: (its part of the batch's, gradients)}.
        """
        y_pos, x_next = self._positive_pairs(images, level, seed, first)
        with tf.GradientTape() as start_tape:
            start, proposal = self.chain_start(
                x_next, level, noise.fold(seed, noise.START), first, 'raw', ((labels, 1.0),), training=True
            )
        y_neg, chain_gradient = self._chain(start, x_next, level, seed, first, labels)

        # The gradient of the contrastive loss.
        options = self.config.training
        dropout = self._dropout(seed, first, options.batch_size + first)
        with tf.GradientTape() as tape:
            losses, f_pos, f_neg = self.contrastive_loss(y_pos, y_neg, level, labels, dropout)
            energy_l2 = options.energy_l2 * (f_pos**2 + f_neg**2) / 2
            loss = tf.reduce_sum(losses + energy_l2) / options.batch_size
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self._note(level, losses, f_pos, f_neg, rms(y_neg - start), rms(chain_gradient))
        return {
            'loss': (loss, gradients),
            **self.start_gradients(start_tape, start, proposal, images, x_next, y_neg, level),
        }

    def _match_scores(self, images, level, labels, seed, first):
        """As `_contrast`, but of the loss of denoising score matching."""
        _, x_next = self._positive_pairs(images, level, seed, first)
        time, precision, dropout = (
            per_image(self.schedule.time, level),
            per_image(self.precision, level),
            self._dropout(seed, first),
        )
        with tf.GradientTape() as tape:
            prepared = self.network.prepare(time, labels)

            def log_density(y):
                return precision * self.network(y, prepared, dropout=dropout)

            losses, gradient = sampling.denoising_loss(self.schedule, log_density, images, x_next, level)
            loss = tf.reduce_sum(losses) / self.config.training.batch_size
        self._note(level, losses, rms(gradient))
        return {'loss': (loss, tape.gradient(loss, self.network.trainable_variables))}

    def _dropout(self, seed, *firsts):
        """For parts of a batch, each with the index of its first image; None where nothing is dropped."""
        return noise.Dropout(noise.fold(seed, noise.DROPOUT), firsts) if self.config.network.dropout else None

    def _note(self, level, *values):
        """Adds the values of each image to the means of their levels."""
        for name, value in zip(self._noted, values, strict=True):
            self.level_means[name].update_state(value, level)

    def start_gradients(self, tape, start, proposal, images, x_next, y_neg, level):
        """The loss of what proposed `start`, and its gradients, as in `_contrast`: nothing here learns from
        one."""
        del tape, start, proposal, images, x_next, y_neg, level
        return {}

    def _positive_pairs(self, images, level, seed, first):
        """y+ = m_t x_t and x_{t+1}."""
        shape = tf.shape(images)
        eps = noise.normal(noise.fold(seed, noise.FORWARD, 0), shape, first)
        eps_next = (
            None
            if self.config.training.shared_noise
            else noise.normal(noise.fold(seed, noise.FORWARD, 1), shape, first)
        )
        x_t, x_next = diffusion.forward_pair(self.schedule, images, level, eps, eps_next)
        return at(self.schedule.m, level) * x_t, x_next

    @graphs.graph
    def _chain(self, start, x_next, level, seed, first, labels):
        """K Langevin steps of the weights in training, with noise of full scale."""

        def step_noise(k):
            return noise.normal(noise.fold(seed, noise.LANGEVIN, k), tf.shape(x_next), first)

        log_density = self.density_at(level, 'raw', ((labels, 1.0),))
        return sampling.conditional_chain(
            self.schedule, log_density, start, x_next, level, self._steps(level), step_noise
        )

    def _descend(self, gradients, network, optimizer):
        """Sums the gradients over the replicas, clips them, steps the optimizer; returns the norm before
        clipping."""
        replica = tf.distribute.get_replica_context()
        gradients = replica.all_reduce('sum', gradients)
        norm = tf.linalg.global_norm(gradients)
        if self.config.training.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.config.training.clip_norm, norm)
        optimizer.apply(
            [gradient / replica.num_replicas_in_sync for gradient in gradients], network.trainable_variables
        )
        return norm

    def _is_sound(self, loss, *values):
        """Whether at every step so far these values and all weights were finite and the loss within bounds;
        found on the device."""
        weights = [weight for _, network in self.averages for weight in network.weights]
        finite = [tf.reduce_all(tf.math.is_finite(tensor)) for tensor in (loss, *values, *weights)]
        summed = math.prod(self.config.image_shape) if self.config.training.objective == 'dsm' else 1
        good = tf.reduce_all(finite) & (tf.abs(loss) <= self.config.training.max_loss * summed)
        step = tf.cast(self.optimizer.iterations.value, tf.int64)
        first = tf.where((self.first_bad_step < 0) & ~good, step, self.first_bad_step)
        self.first_bad_step.assign(first)
        return first < 0

    def _average(self, sound):
        """Moves the averaged weights, u included, where all was sound."""
        n = tf.cast(self.optimizer.iterations.value, tf.float32)
        decay = tf.minimum(self.config.training.ema_decay, (1 + n) / (10 + n))
        for average_network, network in self.averages:
            for average, weight in zip(average_network.weights, network.weights, strict=True):
                average.assign(tf.where(sound, decay * average + (1 - decay) * weight, average))
