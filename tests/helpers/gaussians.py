"""What is known of Gaussian data: log densities, and where K Langevin steps a level end."""

import tensorflow as tf

from drl_tf.core import diffusion


def gaussian(mean, precision):
    return lambda y: -0.5 * tf.reduce_sum(precision * (y - mean) ** 2, axis=[1, 2, 3])


def exact_density(schedule, mean, variance):
    """The exact log density of y_t = m_t x_t for Gaussian data."""

    def density_at(level):
        m, A, S = (diffusion.at(values, level) for values in (schedule.m, schedule.A[:-1], schedule.S[:-1]))
        return gaussian(m * A * mean, 1 / (m**2 * (A**2 * variance + S**2)))

    return density_at


def recursion(schedule, mean, variance, num_steps):
    """Mean and variance of x_0 when each level runs K steps from x_{t+1}.

    On log p(y | x') = -l (y - mu)^2 / 2 - r (y - x')^2 / (2 s^2) a step is y <- b y + c + delta^2 r x' / (2
    s^2) + delta z with b = 1 - delta^2 (l + r / s^2) / 2 and c = delta^2 l mu / 2, so that y_K = (b^K + d h)
    x' + c h + noise of variance delta^2 (1 - b^2K) / (1 - b^2), where h = (1 - b^K) / (1 - b) and d = delta^2
    r / (2 s^2).
    """
    first, second = 0.0, 1.0
    for t in reversed(range(schedule.num_levels)):
        m, A, S, half = schedule.m[t], schedule.A[t], schedule.S[t], schedule.delta[t] ** 2 / 2
        precision = 1 / (m**2 * (A**2 * variance + S**2))
        tether = schedule.conditional[t] / schedule.s[t + 1] ** 2
        b = 1 - half * (precision + tether)
        h = (1 - b**num_steps) / (1 - b)
        slope = b**num_steps + half * tether * h
        first = (slope * first + half * precision * m * A * mean * h) / m
        second = (slope**2 * second + 2 * half * (1 - b ** (2 * num_steps)) / (1 - b**2)) / m**2
    return first, second
