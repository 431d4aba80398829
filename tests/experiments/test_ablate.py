"""Ablations: the rows of the tables, and that each is trained and scored once."""

import csv
import json
import os

import pytest
from helpers import golden
from helpers.tiny import TINY, call, refused
from PIL import Image

from drl_tf.base.errors import Interrupted, UserError
from drl_tf.cli import parsing
from drl_tf.config import config as configuration
from drl_tf.experiments import ablate, ablation_rows
from drl_tf.training import train

FRECHET = 'frechet_distance_digits_classifier'
OPTIONS = [word for word in TINY if not word.startswith(('--mcmc_steps', '--max_minutes'))]
FEW = [
    '--mode=ablate',
    *OPTIONS,
    '--channel_mult=1',
    '--train_steps=4',
    '--num_samples=24',
    '--num_real=100',
    '--max_loss=100',
]
ROWS = {
    'few': dict(num_levels=2, mcmc_steps=(1,)),
    'DSM': {**ablation_rows.T_AND_K['T1000_K0_DSM'], 'num_levels': 3},
    'runs_away': dict(num_levels=2, mcmc_steps=(1,), max_loss=1e-3, max_rollbacks=0, checkpoint_every=1),
}


@pytest.fixture
def few_rows(monkeypatch):
    monkeypatch.setitem(ablation_rows.TABLES, 't6', ROWS)


def test_rows_are_those_of_the_paper():
    """Every row goes with the preset of digits; T, K and objective; as many images; T = 1000 as its own
    recipe has it."""
    config = parsing.configuration_of(['--dataset=digits', '--recipe=t6'])
    configs = ablation_rows.configs_of(config)
    said = [
        (
            c.diffusion.num_levels,
            c.diffusion.mcmc_steps,
            c.training.objective,
            c.diffusion.energy_scale,
            c.diffusion.schedule,
        )
        for c in configs.values()
    ]
    assert said == [
        *[(6, (K,), 'contrastive', 'step', 't6') for K in (10, 20, 30, 50)],
        (999, (0,), 'contrastive', 'noise', 't1k'),
        (999, (0,), 'dsm', 'noise', 't1k'),
        (1, (180,), 'contrastive', 'step', 't6'),
    ]
    assert {(c.training.train_steps, c.training.batch_size) for c in configs.values()} == {(20_000, 16)}
    recipe, mine = parsing.configuration_of(['--dataset=cifar10', '--recipe=t1k']), configs['T1000_K0']
    for name in (
        'recipe',
        'schedule',
        'num_levels',
        'mcmc_steps',
        'noise_scale',
        'act',
        'final_act',
        'energy_scale',
        'shared_noise',
    ):
        assert (
            dict((f.name, v) for f, v in recipe.options())[name]
            == dict((f.name, v) for f, v in mine.options())[name]
        ), name
    assert configs['T6_K30'].differences(config, lambda field: True) == []


def test_rows_of_one_change_take_the_same_time():
    """Rows with slower steps take fewer. Each row differs from the first in what its name says."""
    config = parsing.configuration_of(['--dataset=digits', '--train_steps=2500', '--decay_steps=2500'])
    configs = ablation_rows.configs_of(config)
    default = configs.pop('default')
    assert default.differences(config, lambda field: field.name != 'max_minutes') == []
    steps = {name: c.training.train_steps for name, c in configs.items()}
    assert steps.pop('unet') == configs['unet'].training.decay_steps == 260
    assert configs['unet'].training.warmup_steps == round(default.training.warmup_steps / 9.5) > 0
    assert steps.pop('level_classification') == 1920 and steps.pop('recovery_nce') == 2080
    assert set(steps.values()) == {2500}
    for name, step in (('time_score', 1875), ('level_classification', 1440), ('recovery_nce', 1560)):
        assert configs[name].training.heights_after == step
    changed = {
        name: {text.split('=')[0].strip('-') for text in c.differences(default, lambda field: True)}
        - {'train_steps', 'decay_steps', 'warmup_steps'}
        for name, c in configs.items()
    }
    assert changed['spectral_norm'] in ({'spectral_norm'}, {'nospectral_norm'})
    assert changed['unet'] == {'network'} and changed['linear_head'] == {'final_act'}
    assert changed['x_next_K30'] == {'proposal', 'mcmc_steps'} and changed['no_classes'] == {'num_classes'}
    assert configs['constant_rate'].training.decay_steps == 0


def test_the_row_without_preconditioning_has_no_mean_to_start_from():
    rows = ablation_rows.configs_of(parsing.configuration_of(['--dataset=emoji']))
    assert rows['default'].sampling.prior == 'data' and rows['not_preconditioned'].sampling.prior == 'white'


@pytest.mark.slow
def test_log_densities_are_weighed(monkeypatch, tmp_path):
    """Unless only the levels of sampling were learnt: log Z is found between them. Both rows have a trained
    run here."""
    rows = {'default': {}, 'walk': dict(levels='walk')}
    monkeypatch.setitem(ablation_rows.TABLES, 'preconditioned', rows)
    monkeypatch.setattr(
        ablate,
        'trained',
        lambda name, config, workdir: golden.copied('preconditioned', workdir) and {'diverged_at': None},
    )
    monkeypatch.setattr(ablate, 'scored', lambda *_: {'extractor': 'none', FRECHET: 2.0, 'floor': 1.0})
    config = configuration.load(str(golden.DIRECTORY / 'preconditioned')).replace(num_real=20)
    ablate.ablate(config, str(tmp_path / 'w'), 24)
    with open(tmp_path / 'w' / 'ablation.csv', encoding='utf-8') as file:
        default, walk = csv.DictReader(file)
    assert float(default['bits_per_dim']) > 0 and not walk['bits_per_dim']
    assert float(default[FRECHET]) == float(walk[FRECHET]) == 2


@pytest.mark.slow
def test_each_row_is_done_once(capsys, caplog, few_rows, tmp_path, monkeypatch):
    """Rows that diverged have no score but where; an interruption costs the row at hand; what is finished
    stays."""
    arguments, done, real = [*FEW, f'--workdir={tmp_path}/w'], [], train.train

    def interrupted(config, workdir):
        if len(done) == 1:
            done.append('interruption')
            raise Interrupted('SIGTERM came: saved at step 2', 15)
        done.append(workdir)
        return real(config, workdir)

    monkeypatch.setattr(train, 'train', interrupted)
    assert call(capsys, *arguments)[0] == 143
    with open(tmp_path / 'w' / 'ablation.csv', encoding='utf-8') as file:
        assert [row['row'] for row in csv.DictReader(file)] == ['few']
    assert {'ablation.md', 'ablation.png'} < set(os.listdir(tmp_path / 'w'))
    code, out, err = call(capsys, *arguments)
    assert code == 0, err
    assert done == [f'{tmp_path}/w/few', 'interruption', f'{tmp_path}/w/DSM', f'{tmp_path}/w/runs_away']
    assert 'few is finished' in out and 'diverged at step' in caplog.text
    with open(tmp_path / 'w' / 'ablation.csv', encoding='utf-8') as file:
        few, dsm, away = csv.DictReader(file)
    assert (few['T'], few['K'], few['training_images'], few['step'], dsm['objective'], dsm['T']) == (
        '2',
        '1',
        '32',
        '4',
        'dsm',
        '4',
    )
    assert float(few[FRECHET]) > float(few['floor']) > 0 and float(dsm[FRECHET]) > 0
    assert away['diverged_at'] == '1' and away['training_images'] == '8' and not few['diverged_at']
    stored = json.loads((tmp_path / 'w' / 'few' / 'row.json').read_text())
    assert stored['num_samples'] == 24 and float(few[FRECHET]) == stored[FRECHET]
    lines = (tmp_path / 'w' / 'ablation.md').read_text().splitlines()
    assert len(lines) == 5 and {line.count('|') for line in lines} == {lines[0].count('|')}
    assert Image.open(tmp_path / 'w' / 'ablation.png').size[0] > 400


def test_a_row_of_other_settings_or_of_a_damaged_file_is_scored_again(monkeypatch, caplog, tmp_path):
    """Training itself refuses what does not go with the run that is there."""
    scored, config = [], parsing.configuration_of(['--dataset=digits', '--recipe=t6'])
    monkeypatch.setattr(ablate, 'trained', lambda name, config, workdir: {})
    monkeypatch.setattr(ablate, 'scored', lambda config, *rest: scored.append(config) or {'score': 1.0})
    for changed in ({}, {}, {'num_real': 100}, {'learning_rate': 0.1}):
        ablate.row('few', config.replace(**changed), str(tmp_path), 24, 'ema')
    assert [each.evaluation.num_real for each in scored] == [50_000, 100, 50_000]
    whole = (tmp_path / 'row.json').read_text()
    (tmp_path / 'row.json').write_text('{')
    ablate.row('few', scored[-1], str(tmp_path), 24, 'ema')
    assert 'row.json is damaged' in caplog.text and len(scored) == 4
    assert (tmp_path / 'row.json').read_text() == whole


def test_wrong_use(capsys, tmp_path):
    for option in ('--mcmc_steps=7', '--num_levels=3', '--sigma_max=5', '--objective=dsm', '--max_minutes=5'):
        line = refused(
            capsys, '--mode=ablate', '--dataset=digits', '--recipe=t6', option, f'--workdir={tmp_path}/w'
        )
        assert option in line and 'drop it' in line
    assert '--recipe=t6 and --recipe=preconditioned, not cdrl' in refused(
        capsys, '--mode=ablate', '--dataset=digits', '--recipe=cdrl', f'--workdir={tmp_path}/w'
    )
    assert 'give it alone' in refused(
        capsys, '--mode=ablate,sample', '--dataset=digits', f'--workdir={tmp_path}/w'
    )
    assert 'is for images' in refused(
        capsys, '--mode=ablate', '--dataset=toy_swiss_roll', '--recipe=t6', f'--workdir={tmp_path}/w'
    )
    config = parsing.configuration_of(['--dataset=digits', '--recipe=t6'])
    with pytest.raises(UserError, match=r'row T1000_K0: --step_scale=0\.5'):
        ablation_rows.configs_of(config.replace(step_scale=0.5))
