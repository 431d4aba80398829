"""The optimizers of a model: Adam, with a warm-up of the learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from drl_tf.core.build_model import build_model
from drl_tf.core.optimizer import SummedAdam
from drl_tf.distributed import devices

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood

_LAST_RATE = 0.01


class WarmupAndDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate schedule: a linear warm-up, then a constant rate; optionally times a cosine decay.

    After n training steps, the learning rate is peak * min(1, (n + ahead) / steps), times the decay.

    Args:
      peak: the learning rate after the warm-up, if there is no decay.
      steps: number of steps of the warm-up; 0: none.
      ahead: number of steps of the warm-up that are skipped at the start.
      decay_steps: number of steps of the decay, from step 0 on; 0: no decay. The decay is a cosine factor,
        which falls from 1 at step 0 to 0.01 at step `decay_steps`, and stays at 0.01.
    """

    def __init__(self, peak: float, steps: int, ahead: int = 1, decay_steps: int = 0):
        self.peak = peak
        self.steps = steps
        self.ahead = ahead
        self.decay_steps = decay_steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        rate = self.peak * tf.minimum(1.0, (step + self.ahead) / max(1, self.steps))
        if not self.decay_steps:
            return rate
        share = tf.minimum(1.0, step / self.decay_steps)
        return rate * (_LAST_RATE + (1 - _LAST_RATE) * (1 + tf.cos(math.pi * share)) / 2)

    def get_config(self) -> dict[str, Any]:
        return {
            'peak': self.peak,
            'steps': self.steps,
            'ahead': self.ahead,
            'decay_steps': self.decay_steps,
        }


def compiled_model(config: Config, attempt: int = 0) -> RecoveryLikelihood:
    """Builds a model with optimizers; its initial weights are drawn with the option `seed`.

    Args:
      config: the configuration.
      attempt: number of times that training has diverged and gone back to an earlier checkpoint. For
        each time, the learning rates are multiplied by the option `rollback_factor`.
    """
    keras.utils.set_random_seed(config.training.seed)
    return compile_model(build_model(config, attempt))


def compile_model(model: RecoveryLikelihood) -> RecoveryLikelihood:
    """Gives a model new Adam optimizers with the learning rates of its configuration; returns the model.

    `model.attempt` counts how often training has diverged and gone back to an earlier checkpoint. For each
    time, the learning rates are multiplied by the option `rollback_factor`.

    If the model has an initializer (a second network, which proposes where the chains start), this network
    gets its own optimizer. The warm-up of its learning rate starts at about 5 % of the full rate, as in CDRL
    (cooperative diffusion recovery likelihood).
    """
    config = model.config
    options = config.training
    scale = options.rollback_factor**model.attempt
    rate = WarmupAndDecay(
        scale * options.learning_rate, options.warmup_steps, decay_steps=options.decay_steps
    )
    adam = SummedAdam(rate, beta_1=options.adam_beta1, beta_2=options.adam_beta2, name='adam')
    model.compile(adam, jit_compile=devices.jit_compile(), steps_per_execution=options.steps_per_execution)
    model.optimizer.build(model.network.trainable_variables)
    if config.diffusion.initializer:
        peak = scale * config.initializer.initializer_learning_rate
        ahead = options.warmup_steps // 20 or 1
        rate = WarmupAndDecay(peak, options.warmup_steps, ahead, options.decay_steps)
        model.initializer_optimizer = SummedAdam(rate, name='initializer_adam')
        model.initializer_optimizer.build(model.initializer.trainable_variables)
    return model
