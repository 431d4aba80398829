"""Which results of a run count for its card, its exports and its log densities."""

import json

import pytest
from helpers import golden

from drl_tf.config import config as configuration
from drl_tf.core import heights
from drl_tf.runs import checkpoint, samples
from drl_tf.serving import provenance


@pytest.fixture
def workdir(tmp_path):
    return golden.copied('cdrl', tmp_path / 'run')


def test_the_likelihood_of_the_most_annealing_is_taken(workdir):
    (workdir / 'likelihood').mkdir()
    known = {
        'step': 4,
        'weights': 'ema',
        'log_z_low': 1.0,
        'log_z_high': 2.0,
        'transitions': 10,
        'num_chains': 4,
    }
    for name, changes in {
        'a': {},
        'b': {'transitions': 30},
        'c': {'num_chains': 8},
        'd': {'step': 3, 'num_chains': 99},
    }.items():
        (workdir / 'likelihood' / f'{name}.json').write_text(json.dumps({**known, **changes}))
    assert provenance.history(str(workdir), 4, 'ema')['likelihood'] == {**known, 'transitions': 30}
    assert provenance.history(str(workdir), 4, 'raw')['likelihood'] is None


def test_results_of_other_weights_do_not_count(workdir):
    """Such as those of a run that was trained anew in the same directory, up to the same step."""
    (workdir / 'likelihood').mkdir()
    model, _ = checkpoint.load_model(str(workdir))
    sha = samples.fingerprint(model, 'ema')
    for name, weights_sha256, log_z in (('a', 'other', 1.0), ('b', sha, 2.0)):
        summary = {'log_z': [log_z]}
        result = {'step': 4, 'weights': 'ema', 'method': 'direct', 'test': {'num_images': 9}}
        path = workdir / 'likelihood' / f'{name}.json'
        path.write_text(json.dumps({**result, 'weights_sha256': weights_sha256, 'summary': summary}))
    assert provenance.history(str(workdir), 4, 'ema', model)['heights'] == {'log_z': [2.0]}
    path.unlink()
    assert provenance.history(str(workdir), 4, 'ema', model)['heights'] is None


def test_direct_results_at_levels_too_far_apart_do_not_count(workdir, monkeypatch):
    """Those of an image of 3,072 values that do not say how far apart their levels are."""
    larger = configuration.load(str(workdir)).replace(image_size=32, image_channels=3)
    monkeypatch.setattr(configuration, 'load', lambda directory: larger)
    (workdir / 'likelihood').mkdir()
    result = {'step': 4, 'weights': 'ema', 'method': 'direct', 'test': {'num_images': 9}}
    for name, more in (('a', {}), ('b', {'spacing': heights.spacing(3072)}), ('c', {})):
        path = workdir / 'likelihood' / f'{name}.json'
        path.write_text(json.dumps({**result, **more, 'summary': {'log_z': [name]}}))
    assert provenance.history(str(workdir), 4, 'ema')['heights'] == {'log_z': ['b']}
