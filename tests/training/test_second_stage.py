"""Recovery likelihood from a preconditioned run, through the command line."""

import json
import shutil
import types

import numpy as np
import pytest
from helpers.tiny import TINY, call, refused, sampled, set_options

from drl_tf.cli import parsing
from drl_tf.runs import checkpoint
from drl_tf.runs.run_directory import Run
from drl_tf.tools import kills
from drl_tf.training import resume

OPTIONS = [
    *(word for word in TINY if not word.startswith(('--recipe', '--mcmc_steps', '--channel_mult'))),
    '--recipe=preconditioned', '--channel_mult=1', '--num_levels=3',
    '--checkpoint_every=2', '--log_every=2',
]  # fmt: skip
SECOND_STAGE = ['--contrastive=0.01', '--mcmc_steps=2']
LIKE_T6 = [
    '--objective=contrastive', '--levels=walk', '--schedule=t6', '--num_levels=6', '--proposal=x_next',
    '--mcmc_steps=3', '--contrastive_corrector=langevin', '--contrastive_step=0',
]  # fmt: skip


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    """A run of score matching."""
    from drl_tf.cli.main import main

    workdir = tmp_path_factory.mktemp('start') / 'w'
    assert main(['run.py', *OPTIONS, '--train_steps=2', f'--workdir={workdir}']) == 0
    return workdir


def lines(workdir):
    return list(map(json.loads, (workdir / 'metrics.jsonl').read_text().splitlines()))


def test_a_second_stage_starts_from_a_run_and_resumes_exactly(capsys, start, tmp_path):
    """Also where the first run lies elsewhere by then."""
    options = [*OPTIONS, *SECOND_STAGE, '--contrastive_after=2', '--train_steps=6']
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    code, out, err = call(capsys, *options, f'--init_from={start}', f'--workdir={whole}')
    assert code == 0 and f'starting from the ema weights of {start} at step 2' in out, err
    shutil.copytree(whole, parts)
    shutil.rmtree(parts / 'checkpoints' / '00000006')
    moved = shutil.copytree(start, tmp_path / 'moved' / start.name)
    code, out, _ = call(capsys, *options, f'--init_from={moved}', f'--workdir={parts}')
    assert code == 0 and 'resuming at step 4' in out
    kills.assert_same(whole, parts, 6)
    before, *after = (line['level_contrastive'] for line in lines(whole))
    assert before == [None] * 3
    assert all(len(line) == 3 and np.isfinite(line).all() and np.ptp(line) > 0 for line in after)
    assert lines(whole)[1:] and lines(whole)[-1]['level_contrastive'] == lines(parts)[-1]['level_contrastive']


def test_the_objective_of_t6_starts_from_a_preconditioned_run(capsys, start, tmp_path):
    """Six levels of t6, chains from x_{t+1}, no score matching."""
    workdir = tmp_path / 'w'
    code, out, err = call(
        capsys, *OPTIONS, *LIKE_T6, f'--init_from={start}', '--train_steps=4', f'--workdir={workdir}'
    )
    assert code == 0 and 'starting from' in out, err
    for line in lines(workdir):
        assert set(line) >= {'loss', 'gradient_norm', 'level_contrastive', 'level_acceptance'}
        assert 'level_loss' not in line and len(line['level_contrastive']) == 6
    model, step = checkpoint.load_model(str(workdir))
    assert step == 4 and model.normalised and model.schedule.conditional[-1] == 0
    images, _ = sampled(capsys, workdir, '--mode=sample', '--num_samples=2')
    assert np.ptp(images) > 0


def test_t6_itself_says_how(capsys, start, tmp_path):
    line = refused(capsys, *TINY, f'--init_from={start}', f'--workdir={tmp_path}/w')
    assert '--energy=paper here, preconditioned there' in line
    assert line.endswith('--recipe=preconditioned --objective=contrastive --levels=walk --mcmc_steps=30')


def test_levels_without_energy_are_refused(capsys, start, tmp_path):
    """A run that learnt its own levels alone has no energies at those of t6."""
    walk = shutil.copytree(start, tmp_path / 'walk')
    set_options(walk, levels='walk')
    line = refused(capsys, *OPTIONS, *LIKE_T6, f'--init_from={walk}', f'--workdir={tmp_path}/w')
    assert '--schedule=t6 here, karras there; --num_levels=6 here, 3 there' in line
    same = [*OPTIONS, '--objective=contrastive', '--levels=walk', '--mcmc_steps=1', '--train_steps=2']
    assert call(capsys, *same, f'--init_from={walk}', f'--workdir={tmp_path}/w')[0] == 0
    line = refused(capsys, *same, '--sigma_max=20', f'--init_from={start}', f'--workdir={tmp_path}/w2')
    assert '--sigma_max=20 must lie within the noise of training, from 0.0074 to 12.8' in line


@pytest.mark.parametrize(
    ('flags', 'part'),
    [
        (['--objective=contrastive'], '--levels=continuous needs --objective=score_matching'),
        (['--objective=contrastive', '--levels=walk', '--contrastive=1'], '--contrastive=1 needs'),
        (['--contrastive_after=5'], '--contrastive_after=5 needs a weight'),
        (['--heights_after=5'], '--heights_after=5 needs a weight: give --time_score or'),
        (['--objective=contrastive', '--levels=walk', '--energy_l2=1'], '--energy_l2=1 is for'),
        (['--contrastive=1', '--mcmc_steps=1', '--contrastive_step=0'], '--contrastive_step=0 is delta_t'),
        (['--contrastive_corrector=hmc'], '--contrastive_corrector=hmc is for recovery likelihood'),
        (['--contrastive=0.1', '--contrastive_corrector=hmc'], '=hmc is for chains, and --mcmc_steps=0 runs'),
        (['--contrastive=0.1', '--contrastive_step=0.1'], '--contrastive_step=0.1 is for chains'),
        (['--network=unet', '--norm=instance'], '--norm=instance is for --network=resnet, not unet'),
        (['--network=unet', '--conv_downsample'], '--conv_downsample is for --network=resnet'),
        (['--network=unet', '--noconv_shortcut'], '--noconv_shortcut is for --network=resnet'),
        (['--network=unet', '--nogain'], '--nogain is for --network=resnet'),
        (['--network=unet', '--time_act'], '--time_act is for --network=resnet'),
        (['--network=unet', '--nozero_residual'], '--nozero_residual is for --network=resnet'),
        (['--network=unet', '--nooutput_bias'], '--nooutput_bias is for --network=resnet'),
        (['--contrastive=-1'], '--contrastive=-1.0 must be at least 0'),
        (['--recipe=t6', '--contrastive=1'], '--contrastive=1 needs --objective=score_matching'),
    ],
)
def test_what_does_not_go_together_is_refused(capsys, tmp_path, flags, part):
    assert part in refused(capsys, *OPTIONS, f'--workdir={tmp_path}/w', *flags)


def test_a_dry_run_counts_both_losses(capsys):
    def cost(*flags):
        code, out, err = call(capsys, *OPTIONS, *flags, '--dry_run=json')
        assert code == 0, err
        return json.loads(out)['cost']

    matching, both = cost(), cost(*SECOND_STAGE)
    alone = cost('--objective=contrastive', '--levels=walk', '--mcmc_steps=2')
    name = 'FLOPs of a training step'
    assert both[name] == matching[name] + alone[name]
    assert alone[name] > 3 * 8 * alone['FLOPs of one Langevin step of an image']
    assert both['bytes of a device'] >= max(matching['bytes of a device'], alone['bytes of a device'])


@pytest.mark.parametrize(
    ('words', 'warned'),
    [
        (['--recovery_nce=0.1', '--time_score=0.2'], ['--time_score, --recovery_nce']),
        (['--recovery_nce=0.1', '--heights_after=1'], []),
        ([], []),
    ],
)
def test_heights_before_slopes_are_warned_of(words, warned, tmp_path, monkeypatch):
    """A new run with such a loss; the record of a former start is gone."""
    said = []
    monkeypatch.setattr(resume.logging, 'warning', lambda text, *names: said.extend(names))
    model = types.SimpleNamespace(config=parsing.configuration_of([*OPTIONS, *words]))
    (tmp_path / 'start.json').write_text('{}')
    assert resume.starting_step(model, Run(str(tmp_path)), str(tmp_path), None, 'ema') == 0
    assert said == warned and not (tmp_path / 'start.json').exists()


@pytest.mark.parametrize(
    ('label_dropout', 'warned'),
    [('0', True), ('0.1', False)],
)
def test_classes_that_are_never_hidden_are_warned_of(label_dropout, warned, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(resume.logging, 'warning', lambda text, *_: said.append(text))
    words = [*OPTIONS, '--num_classes=-1', f'--label_dropout={label_dropout}']
    model = types.SimpleNamespace(config=parsing.configuration_of(words))
    assert resume.starting_step(model, Run(str(tmp_path)), str(tmp_path), None, 'ema') == 0
    assert any('--label_dropout=0' in text for text in said) == warned


def test_a_run_sampled_without_chains_keeps_the_options_of_its_training():
    """K = 0 in sampling says nothing of the chains that trained the model."""
    words = [*OPTIONS, *SECOND_STAGE, '--contrastive_corrector=hmc']
    assert parsing.configuration_of(words).replace(mcmc_steps=(0,)).negatives == 'langevin'
