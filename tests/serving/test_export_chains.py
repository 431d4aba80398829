"""An export carries its chains: the graph, the description and a model loaded from it draw the same."""

import json

import numpy as np
import pytest
import tensorflow as tf
from helpers.serving import export_only
from helpers.small_models import PRECONDITIONED

import drl_tf
from drl_tf.base import pixels
from drl_tf.core import noise, pilot
from drl_tf.core.build_model import build_model
from drl_tf.core.sampling import Draw
from drl_tf.serving import export


@pytest.mark.slow
def test_served_and_loaded_models_run_the_chains_of_the_export(tmp_path, monkeypatch):
    """Served and loaded models sample through the two levels of the export; `denoise` goes through all three
    of the training."""
    export_only(monkeypatch, 'sample', 'denoise')
    config = PRECONDITIONED.replace(
        precision='float32', num_levels=3, mcmc_steps=(2,), data_mean=(0.0,), data_std=0.5,
        sampling_levels=2,
    )  # fmt: skip
    model = build_model(config)
    version = export.write(model, config, 0, str(tmp_path / 'm'), max_samples=8)['SavedModel']
    with open(f'{version}/assets.extra/drl_tf.json', encoding='utf-8') as file:
        note = json.load(file)
    q = pilot.steps(model)
    assert note['corrector'] == 'mala' and note['corrector_steps'] == pytest.approx(q.numpy().tolist())
    assert len(note['corrector_steps']) == 2
    with open(f'{version}/README.md', encoding='utf-8') as file:
        assert 'chains of K = 2 MALA steps' in file.read()

    signatures = tf.saved_model.load(version).signatures
    seed = tf.constant([4, noise.SAMPLING])
    served = signatures['sample'](seed=seed, num_samples=tf.constant(3))['images']
    expected = pixels.to_uint8(model.sample(3, seed)[-1])
    loaded_model = drl_tf.EnergyModel.from_preset(version)
    loaded = loaded_model.generate(3, seed=4)
    plain = pixels.to_uint8(build_model(config.replace(mcmc_steps=(0,))).sample(3, seed)[-1])
    assert np.abs(np.int32(served) - expected).max() <= 1 and np.abs(np.int32(loaded) - expected).max() <= 1
    assert np.abs(np.int32(plain) - expected).max() > 1

    x, level = tf.ones([2, 8, 8, 1]), tf.constant([0, 2])
    x_t = signatures['denoise'](images=x, level=level, seed=seed)['images']
    every_level = pilot.steps(model, walk=model.schedule)
    np.testing.assert_allclose(
        x_t, model.denoise(x, level, seed, Draw(corrector_steps=every_level)), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(loaded_model.denoise(x, level, seed=4), x_t, rtol=1e-4, atol=1e-5)
