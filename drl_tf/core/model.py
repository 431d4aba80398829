"""Training by recovery likelihood: the Keras model and its training step (paper, Algorithm 1)."""

import math

import tensorflow as tf

from drl_tf.core import diffusion, graphs, microbatches, noise, objectives, sampling
from drl_tf.core.batch import Batch
from drl_tf.core.diffusion import at, per_image
from drl_tf.core.energy_model import EnergyModel
from drl_tf.core.level_mean import LevelMean, rms

_SCORE_MEANS = ('loss', 'gradient_norm')
_CONTRASTIVE_MEANS = ('loss', 'f_pos', 'f_neg', 'displacement', 'gradient_norm')


class RecoveryLikelihood(EnergyModel):
    """An `EnergyModel` that learns by recovery likelihood, or by denoising score matching.

    Train it with Keras `fit` on batches of images, float32 [B, H, W, C] in [-1, 1]. A model with classes
    takes pairs (images, labels), int32 [B] from 1 (0 is no class).

    Args:
      config: as for `EnergyModel`.
      attempt: how often training was rolled back; each attempt draws other noise.

    Attributes:
      first_bad_step: the first step with a loss, gradient or weight that was not finite or a loss beyond
        `max_loss`, int64 []; -1 where there was none. From it on the averages stand still.
      level_means: {name: `LevelMean`} of what training reports.
    """

    def __init__(self, config, attempt=0):
        super().__init__(config)
        self.attempt = attempt
        alike = dict(
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        self.first_bad_step = tf.Variable(-1, dtype=tf.int64, trainable=False, **alike)
        self._noted = self.noted()
        self.level_means = {name: LevelMean(self.num_noises, name=name) for name in self._noted}

    @property
    def num_noises(self):
        """How many noise levels training reports on: T."""
        return self.schedule.num_levels

    def noted(self):
        """Names of what training reports of each noise level."""
        return _SCORE_MEANS if self.config.training.objective == 'dsm' else _CONTRASTIVE_MEANS

    def losses_and_gradients(self, batch):
        """The losses of a `Batch` and their gradients; see `_contrast`."""
        return self._match_scores(batch) if self.config.training.objective == 'dsm' else self._contrast(batch)

    @property
    def step(self):
        """How many steps were taken, an int; every replica has the same."""
        return int(self.optimizer.iterations.value.read_value())

    @property
    def learners(self):
        """{name of a loss: (the network that learns from it, its optimizer)}, once the model is compiled."""
        return {'loss': (self.network, self.optimizer)}

    @property
    def optimizers(self):
        """All optimizers of the compiled model."""
        return [optimizer for _, optimizer in self.learners.values()]

    def train_step(self, data):
        """One step of Algorithm 1, or of denoising score matching, on a replica's share of the batch."""
        options = self.config.training
        replica = tf.distribute.get_replica_context()
        batch = self._batch(data, replica.replica_id_in_sync_group)

        def of_part(begin, images, level, labels, angle):
            part = Batch(images, level, labels, batch.seed, batch.first + begin, angle)
            return self.losses_and_gradients(part)

        # Losses and gradients, one microbatch at a time.
        rows = (batch.images, batch.level, batch.labels, batch.angle)
        learnt = microbatches.summed(of_part, rows, options.microbatches, self._no_gradients())

        # u of spectral normalisation moves once a step; then the weights, then their averages.
        self.network.update_u()
        norms = {}
        for name, (network, optimizer) in self.learners.items():
            norms[name] = self._update(learnt[name][1], network, optimizer)
        losses = {name: replica.all_reduce('sum', loss) for name, (loss, _) in learnt.items()}
        self._average(self._note_soundness(losses['loss'], *norms.values(), *losses.values()))
        return {**losses, 'gradient_norm': norms['loss']}

    def _batch(self, data, replica):
        """The images of a replica, each with a level t ~ U{0..T-1}; some labels are hidden."""
        images, labels = data if self.config.data.num_classes else (data, None)
        options = self.config.training
        size = images.shape[0]
        first = replica * size
        seed = noise.fold(
            noise.root(options.seed, noise.TRAINING), self.attempt, self.optimizer.iterations.value
        )
        levels, angles = self.draw_levels(seed)
        if labels is not None:
            hidden = noise.dropped(seed, options.label_dropout, options.batch_size)
            labels = tf.where(tf.slice(hidden, [first], [size]), 0, labels)
        level, angle = (tf.slice(values, [first], [size]) for values in (levels, angles))
        return Batch(images, level, labels, seed, first, angle)

    def draw_levels(self, seed):
        """Noise levels of the images of the global batch, t ~ U{0..T-1}.

        Returns:
          t, int32 [B], and its angle, float32 [B].
        """
        levels = noise.levels(seed, self.num_noises, self.config.training.batch_size)
        return levels, per_image(self.schedule.angle, levels)

    def _no_gradients(self):
        """Zero accumulators of the losses and gradients."""
        networks = {name: network for name, (network, _) in self.learners.items()}
        return {
            name: (0.0, [tf.zeros(v.shape) for v in network.trainable_variables])
            for name, network in networks.items()
        }

    def _contrast(self, batch):
        """Algorithm 1: the contrastive loss of a batch and its gradients.

        Returns:
          {name of a loss: (its sum over the batch / size of the global batch, gradients)}.
        """
        # Positive pairs (x_t, x_{t+1}) by the forward process; y+ = m_t x_t.
        x_t, x_next = self._forward_pair(batch)
        y_pos = at(self.schedule.m, batch.level) * x_t

        # Negatives y-: K Langevin steps on p(y | x_{t+1}), from x_{t+1} or from the initializer's proposal.
        with tf.GradientTape() as start_tape:
            seed = noise.fold(batch.seed, noise.START)
            start, proposal = self.chain_start(
                x_next, batch.level, seed, batch.first, 'raw', batch.terms, training=True
            )
        y_neg, chain_gradient = self._chain(start, x_next, batch.level, batch.seed, batch.first, batch.labels)

        # The gradient of (s_1 / s_{t+1}) (f(y-, t) - f(y+, t)) + l2 f^2, through the weights alone.
        options = self.config.training
        dropout = self.dropout_of(batch.seed, batch.first, options.batch_size + batch.first)
        with tf.GradientTape() as tape:
            losses, f_pos, f_neg = self.contrastive_loss(y_pos, y_neg, batch.level, batch.labels, dropout)
            energy_l2 = options.energy_l2 * (f_pos**2 + f_neg**2) / 2
            loss = tf.reduce_sum(losses + energy_l2) / options.batch_size
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self.note(batch.level, losses, f_pos, f_neg, rms(y_neg - start), rms(chain_gradient))
        others = self.start_gradients(start_tape, batch, start, proposal, x_next, y_neg)
        return {'loss': (loss, gradients), **others}

    def _match_scores(self, batch):
        """As `_contrast`, but the loss of denoising score matching: no chains."""
        _, x_next = self._forward_pair(batch)
        time = per_image(self.schedule.time, batch.level)
        precision = per_image(self.precision, batch.level)
        dropout = self.dropout_of(batch.seed, batch.first)
        with tf.GradientTape() as tape:
            prepared = self.network.prepare(time, batch.labels)

            def log_density(y):
                return precision * self.network(y, prepared, dropout=dropout)

            losses, gradient = objectives.denoising(
                self.schedule, log_density, batch.images, x_next, batch.level
            )
            loss = tf.reduce_sum(losses) / self.config.training.batch_size
        self.note(batch.level, losses, rms(gradient))
        return {'loss': (loss, tape.gradient(loss, self.network.trainable_variables))}

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
        return objectives.contrastive(self.schedule, f_pos, f_neg, level), f_pos, f_neg

    def _forward_pair(self, batch):
        """x_t and x_{t+1}, of one noise for both with `shared_noise`."""
        eps = batch.noise(noise.FORWARD, 0)
        eps_next = None if self.config.training.shared_noise else batch.noise(noise.FORWARD, 1)
        return diffusion.forward_pair(self.schedule, batch.images, batch.level, eps, eps_next)

    @graphs.graph
    def _chain(self, start, x_next, level, seed, first, labels):
        """K Langevin steps of the raw weights, with noise of full scale; the last state and gradient."""

        def step_noise(k):
            return noise.normal(noise.fold(seed, noise.LANGEVIN, k), tf.shape(x_next), first)

        log_density = self.density_at(level, 'raw', ((labels, 1.0),))
        return sampling.conditional_chain(
            self.schedule, log_density, start, x_next, level, self.steps_at(level), step_noise
        )

    def start_gradients(self, tape, batch, start, proposal, x_next, y_neg):
        """The loss of what proposed `start`, with its gradients; none where the chains start at x_{t+1}."""
        del tape, batch, start, proposal, x_next, y_neg
        return {}

    def dropout_of(self, seed, *firsts):
        """For parts of a batch, each with the index of its first image; None where nothing is dropped."""
        return noise.Dropout(noise.fold(seed, noise.DROPOUT), firsts) if self.config.network.dropout else None

    def note(self, level, *values):
        """Adds the values of each image to the means of their levels."""
        for name, value in zip(self._noted, values, strict=True):
            self.level_means[name].update_state(value, level)

    def _update(self, gradients, network, optimizer):
        """Sums the gradients over the replicas, clips them, steps the optimizer; returns the norm before
        clipping."""
        replica = tf.distribute.get_replica_context()
        gradients = replica.all_reduce('sum', gradients)
        norm = tf.linalg.global_norm(gradients)
        if self.config.training.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.config.training.clip_norm, norm)
        optimizer.apply(gradients, network.trainable_variables)
        return norm

    def _note_soundness(self, loss, *values):
        """Notes the first step whose loss, values or weights are not finite, or whose loss is out of bounds.

        Returns:
          Whether there was none so far, bool []; it is found on the device.
        """
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
        """Uses our train function where Keras' fails: several steps on several replicas, workers, TPUs."""
        super().make_train_function(force)
        self.train_function = graphs.train_function(self, self.steps_per_execution) or self.train_function

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """No-op: the weights exist already. (Keras would average a batch of classes over the replicas.)"""

    def reset_metrics(self):
        """No-op: means are reset when they are logged, so that they survive a resume."""
