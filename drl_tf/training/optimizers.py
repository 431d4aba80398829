"""The optimizers of a model: Adam, whose learning rate warms up and falls with each rollback."""

import keras
import tensorflow as tf

from drl_tf.core.models import build_model
from drl_tf.core.optimizer import SummedAdam
from drl_tf.distributed import devices


class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `peak` over `steps`, `ahead` of which count as done, then stays."""

    def __init__(self, peak, steps, ahead=1):
        self.peak, self.steps, self.ahead = peak, steps, ahead

    def __call__(self, step):
        return self.peak * tf.minimum(1.0, (tf.cast(step, tf.float32) + self.ahead) / max(1, self.steps))

    def get_config(self):
        return {'peak': self.peak, 'steps': self.steps, 'ahead': self.ahead}


def compiled_model(config, attempt=0):
    """The model of a configuration with its optimizers, ready for `fit` or for a checkpoint; its weights
    start from the seed."""
    keras.utils.set_random_seed(config.training.seed)
    return compile_model(build_model(config, attempt))


def compile_model(model):
    """Gives a model the optimizers of its configuration, which start anew, and returns it.

    Each of the rollbacks that its attempt stands for has lowered the learning rates. The initializer's
    warm-up starts a twentieth of the way up (the paper: (n + 500) / 10,000).
    """
    config, options = model.config, model.config.training
    scale = options.rollback_factor**model.attempt
    rate = LinearWarmup(scale * options.learning_rate, options.warmup_steps)
    adam = SummedAdam(rate, beta_1=options.adam_beta1, beta_2=options.adam_beta2, name='adam')
    model.compile(adam, jit_compile=devices.jit_compile(), steps_per_execution=options.steps_per_execution)
    model.optimizer.build(model.network.trainable_variables)
    if config.diffusion.initializer:
        peak = scale * config.initializer.initializer_learning_rate
        rate = LinearWarmup(peak, options.warmup_steps, ahead=options.warmup_steps // 20 or 1)
        model.initializer_optimizer = SummedAdam(rate, name='initializer_adam')
        model.initializer_optimizer.build(model.initializer.trainable_variables)
    return model
