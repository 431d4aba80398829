"""Correctors against what is known of Gaussians and of a density with two modes."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from helpers.gaussians import exact_density, gaussian
from helpers.small_models import PRECONDITIONED

from drl_tf.core import correctors, diffusion, noise, sampling
from drl_tf.core.build_model import build_model
from drl_tf.core.energy_model import EnergyModel

SEED = [7, 8]
CHAINS = {'mala': correctors.mala, 'hmc': correctors.hmc}
LEAPFROGS = {'mala': 1, 'hmc': correctors.LEAPFROGS}


def draws(shape):
    return correctors.Draws(
        lambda k: noise.normal(noise.fold(SEED, noise.LANGEVIN, k), shape),
        lambda k: noise.uniform(noise.fold(SEED, noise.ACCEPTANCE, k), shape[0]),
        lambda k: noise.uniform(noise.fold(SEED, noise.LENGTH, k), shape[0]),
    )


def recovered(corrector, q, num_steps, t, variance, size=20_000, noise_scale=1.0):
    """y_t given x_{t+1} = 1.1 by the sampler of a model, for exact energies of Gaussian data of mean 0.3."""
    schedule = diffusion.cosine()
    sampler = sampling.Sampler(
        schedule,
        exact_density(schedule, 0.3, variance),
        steps_at=lambda level: num_steps,
        corrector=corrector,
        corrector_steps=tf.fill([schedule.num_levels], q),
        noise_scale=noise_scale,
    )
    recover = tf.function(sampler.recover, autograph=False)
    x, info = recover(tf.fill([size, 2, 2, 1], 1.1), tf.fill([size], t), SEED)
    return schedule.m[t] * x.numpy(), info


def conditional_moments(t, variance):
    """Mean and variance of p(y_t | x_{t+1} = 1.1)."""
    schedule = diffusion.cosine()
    m, A, S = schedule.m[t], schedule.A[t], schedule.S[t]
    precision = 1 / (m**2 * (A**2 * variance + S**2))
    tether = schedule.conditional[t] / schedule.s[t + 1] ** 2
    return (precision * m * A * 0.3 + tether * 1.1) / (precision + tether), 1 / (precision + tether)


def check_moments(y, mean, variance):
    np.testing.assert_allclose(y.mean(), mean, atol=5 * np.sqrt(variance / y.size))
    np.testing.assert_allclose(y.var(), variance, rtol=5 * np.sqrt(2 / y.size))


@pytest.mark.parametrize('t', [0, 3, 5])
@pytest.mark.parametrize(('corrector', 'q', 'num_steps'), [('mala', 0.7, 40), ('hmc', 0.3, 15)])
def test_adjusted_correctors_draw_exact_conditionals(corrector, q, num_steps, t):
    """At the lowest, a middle and the marginal top level, for data as wide as the noise, with steps at which
    Langevin chains are far off."""
    variance = diffusion.cosine().S[t] ** 2
    y, _ = recovered(corrector, q, num_steps, t, variance)
    check_moments(y, *conditional_moments(t, variance))


@pytest.mark.parametrize('t', [0, 3])
@pytest.mark.parametrize('q', [0.2, 1.0])
def test_langevin_inflates_the_stiffest_direction_by_its_known_factor(q, t):
    """Data without variance have the curvature L_t; their chains end with 1 / L_t / (1 - q / 2)."""
    y, info = recovered('langevin', q, 40, t, variance=0.0)
    mean, variance = conditional_moments(t, 0.0)
    assert variance == pytest.approx(1 / correctors.curvature(diffusion.cosine())[t])
    check_moments(y, mean, variance / (1 - q / 2))
    np.testing.assert_array_equal(info.acceptance, np.ones(len(y)))


@pytest.mark.parametrize('corrector', ['langevin', *CHAINS])
def test_noise_scale_is_a_temperature(corrector):
    """Chains with the noise factor c draw p^(1 / c^2): the variance of a Gaussian times c^2, exactly.

    Langevin chains do so with their known bias.
    """
    y, _ = recovered(corrector, 0.3, 40, 3, variance=0.25, noise_scale=0.8)
    mean, variance = conditional_moments(3, 0.25)
    if corrector == 'langevin':
        variance /= 1 - 0.3 / (2 * variance * correctors.curvature(diffusion.cosine())[3])
    check_moments(y, mean, 0.8**2 * variance)


def known_acceptance(step_size, num_leapfrogs, values=1):
    """The mean acceptance on N(0, I) of D values, started there.

    Leapfrog steps conserve p^2 / 2 + (1 - delta^2 / 4) y^2 / 2. So they accept with exp(min(0, delta^2 / 8
    (y^2 - y'^2))), where y' = v . (y, p); the mean is 2 P(y'^2 < y^2), since the steps are reversible and
    keep volumes. With e = (1, 0) this is the probability that D products (v - e) . z (v + e) . z have a
    negative sum. The sum is that of chi-squares, with D degrees of freedom each, times 1 + cosine and cosine
    - 1. The share of the first in both has a beta distribution.
    """
    h = step_size**2
    one = np.array([[1 - h / 2, step_size], [-step_size * (1 - h / 4), 1 - h / 2]])
    v, e = np.linalg.matrix_power(one, num_leapfrogs)[0], np.array([1, 0])
    cosine = (v - e) @ (v + e) / np.linalg.norm(v - e) / np.linalg.norm(v + e)
    return 2 * scipy.stats.beta.cdf((1 - cosine) / 2, values / 2, values / 2)


@pytest.mark.parametrize('step_size', [0.7, 1.0, 1.5])
@pytest.mark.parametrize('corrector', CHAINS)
def test_acceptance_is_that_of_a_gaussian(corrector, step_size):
    shape = [100_000, 1, 1, 1]
    start = noise.normal([1, 2], shape)
    _, acceptance = CHAINS[corrector](gaussian(0.0, 1.0), start, step_size, 1, draws(shape))
    lengths = [1.0] if corrector == 'mala' else (np.arange(1000) + 0.5) / 2000 + 0.5
    expected = np.mean([known_acceptance(step_size * length, LEAPFROGS[corrector]) for length in lengths])
    assert 0.6 < expected < 0.999
    assert np.mean(acceptance) == pytest.approx(expected, abs=5 * np.std(acceptance) / np.sqrt(shape[0]))


def two_modes(y):
    y = y[:, 0]
    parts = [np.log(w / s) - (y - m) ** 2 / (2 * s**2) for w, m, s in ((0.3, -1.0, 0.3), (0.7, 1.0, 0.5))]
    return tf.reduce_logsumexp(tf.stack(parts), axis=0)


@pytest.mark.parametrize(('corrector', 'step_size'), [('mala', 1.0), ('hmc', 0.45)])
def test_detailed_balance_on_two_modes(corrector, step_size):
    """From draws of the density, a transition moves as many chains from any bin to any other as back."""
    size = 200_000
    rng = np.random.default_rng(0)
    left = rng.random(size) < 0.3
    start = np.where(left, rng.normal(-1, 0.3, size), rng.normal(1, 0.5, size))
    y, acceptance = CHAINS[corrector](
        two_modes, tf.constant(start[:, None], tf.float32), step_size, 1, draws([size, 1])
    )
    edges = [-np.inf, -1.2, -0.8, -0.3, 0.3, 0.8, 1.3, np.inf]
    flows = np.histogram2d(start, y.numpy()[:, 0], bins=[np.nan_to_num(edges, posinf=99, neginf=-99)] * 2)[0]
    deviation = (flows - flows.T) / np.sqrt(np.maximum(flows + flows.T, 1))
    assert np.abs(deviation).max() < 4.5
    assert np.mean(acceptance) < 0.95 and flows[:3, 4:].sum() > 1000


@pytest.mark.parametrize('corrector', CHAINS)
def test_gradients_are_carried_in_the_state(corrector):
    """K transitions cost K times the leapfrog steps, and one gradient at the start."""
    evaluations = tf.Variable(0)

    def log_prob(y):
        evaluations.assign_add(1)
        return -tf.reduce_sum(y**2, axis=[1, 2, 3])

    shape = [1, 2, 2, 1]
    chain = tf.function(CHAINS[corrector], autograph=False)
    chain(log_prob, tf.ones(shape), 0.1, 17, draws(shape))
    assert int(evaluations) == 1 + 17 * LEAPFROGS[corrector] == correctors.gradients(corrector, 17)


def test_each_image_runs_its_own_number_of_steps():
    y = noise.normal(SEED, [3, 2, 2, 1])
    together, acceptance = correctors.mala(gaussian(0.5, 3.0), y, 0.5, tf.constant([4, 0, 2]), draws(y.shape))
    for image, k in enumerate([4, 0, 2]):
        alone, accepted = correctors.mala(gaussian(0.5, 3.0), y, 0.5, k, draws(y.shape))
        np.testing.assert_array_equal(together[image], alone[image])
        assert acceptance[image] == accepted[image]
    np.testing.assert_array_equal(together[1], y[1])
    assert acceptance[1] == 0


def test_a_proposal_without_a_density_is_rejected_and_shows():
    y = tf.ones([4, 1])
    moved, acceptance = correctors.mala(
        lambda y: tf.where(y[:, 0] == 1, 0.0, np.nan) * y[:, 0], y, 0.5, 3, draws(y.shape)
    )
    np.testing.assert_array_equal(moved, y)
    assert np.isnan(acceptance).all()


@pytest.mark.parametrize(('corrector', 'uniforms_per_step'), [('mala', 1), ('hmc', 2)])
def test_noises_of_prior_proposal_chain_and_acceptance_are_independent(
    monkeypatch, corrector, uniforms_per_step
):
    """No two draws of a sample have the same seed, and none correlates with another."""
    model = EnergyModel(
        PRECONDITIONED.replace(num_levels=2, corrector=corrector, mcmc_steps=(3,), corrector_step=0.2)
    )
    normals, uniforms, seeds = [], [], []
    real_normal, real_uniform = noise.normal, noise.uniform

    def normal(seed, shape, first=0):
        drawn = real_normal(seed, shape, first)
        seeds.append(tuple(np.array(seed)))
        normals.append(np.ravel(drawn))
        return drawn

    def uniform(seed, num_images, first=0):
        drawn = real_uniform(seed, num_images, first)
        seeds.append(tuple(np.array(seed)))
        uniforms.append(np.array(drawn))
        return drawn

    monkeypatch.setattr(noise, 'normal', normal)
    monkeypatch.setattr(noise, 'uniform', uniform)
    tf.config.run_functions_eagerly(True)
    try:
        model.sample(400, [1, 2])
    finally:
        tf.config.run_functions_eagerly(False)
    assert len(normals) == 1 + 2 * (1 + 3) and len(uniforms) == 2 * 3 * uniforms_per_step
    assert len(set(seeds)) == len(seeds) == len(normals) + len(uniforms)
    pixels = np.corrcoef(normals) - np.eye(len(normals))
    assert np.abs(pixels).max() < 5 / np.sqrt(normals[0].size)
    firsts = [values[:: normals[0].size // 400] for values in normals]
    images = np.corrcoef(np.concatenate([firsts, uniforms])) - np.eye(len(seeds))
    assert np.abs(images).max() < 5 / np.sqrt(400)


def acceptance_of_one_point():
    """Mean acceptance by level of one MALA step of size 1 / sqrt(L_t), for a training set of one point."""
    model = build_model(
        PRECONDITIONED.replace(
            energy='exact', exact_images=1, image_size=2, num_levels=3, noise_scale=1.0,
            mcmc_steps=(1,), corrector='mala', corrector_step=0.5,
        )
    )  # fmt: skip
    for network in (model.network, model.ema_network):
        network.hold(np.full([1, 2, 2, 1], 0.3, np.float32), [0])
    infos = []
    model.sample(5_000, SEED, after_chains=infos.append)
    return np.mean(sum(info.acceptance for info in infos), axis=0)


def test_chains_that_start_at_exact_proposals_accept_at_the_known_rate(monkeypatch):
    """Each proposal is a draw of the conditional, N(mu, I / L_t).

    If the chain repeated the proposal's noise z, the step would go from mu + z to mu + 1.5 z, in units of 1 /
    sqrt(L_t), and accept with exp(-(1.5^2 - 1) |z|^2 / 8), for four values.
    """
    known, repeated = known_acceptance(1.0, 1, values=4), (1 + (1.5**2 - 1) / 4) ** -2
    assert repeated < known - 0.1
    np.testing.assert_allclose(acceptance_of_one_point(), [known] * 3, atol=0.02)
    real_fold = noise.fold

    def fold(seed, purpose, *numbers):
        return seed if purpose in (noise.START, noise.LANGEVIN) else real_fold(seed, purpose, *numbers)

    monkeypatch.setattr(noise, 'fold', fold)
    np.testing.assert_allclose(acceptance_of_one_point(), [repeated] * 3, atol=0.02)
