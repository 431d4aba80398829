"""A dry run prints the configuration of presets and flags, and its cost."""

import json

import pytest
from helpers.tiny import ROOT, TINY, call, refused

from drl_tf.cli import parsing
from drl_tf.config import config as configuration
from drl_tf.core.build_model import build_model
from drl_tf.data import dataset_table
from drl_tf.planning import flops


def dry_run(capsys, *arguments):
    """Configuration and costs that --dry_run=json prints."""
    code, out, err = call(capsys, '--dry_run=json', *arguments)
    assert code == 0, err
    found = json.loads(out)
    return found['configuration'], {**found['cost'], 'precision': found['precision']}


def test_presets_then_command_line():
    """X.flags, then X_<size>.flags, then the command line."""
    paper = parsing.configuration_of(['--dataset=lsun_church'])
    large = parsing.configuration_of(['--dataset=lsun_church', '--image_size=128', '--batch_size=3'])
    training = paper.training
    assert (paper.data.image_size, training.batch_size, training.adam_beta1) == (64, 128, 0.9)
    assert paper.network.channel_mult == (1, 2, 2, 2, 4)
    training = large.training
    assert (large.data.image_size, training.batch_size, training.adam_beta1) == (128, 3, 0.5)
    assert large.network.channel_mult == (1, 2, 2, 2, 4, 4)


def test_the_presets_of_a_dataset_and_recipe_may_depend_on_the_image_size():
    """X_<size>_R.flags comes after X_R.flags; another recipe does not take it."""
    for options, channels in (
        (['--recipe=preconditioned'], 32),
        (['--recipe=preconditioned', '--image_size=64'], 16),
        (['--recipe=cdrl'], 16),
        (['--recipe=cdrl', '--image_size=64'], 8),
        (['--recipe=cdrl', '--image_size=64', '--channels=4'], 4),
    ):
        assert parsing.configuration_of(['--dataset=emoji', *options]).network.channels == channels


@pytest.mark.parametrize('dataset', ['digits', 'emoji', 'folder'])
def test_digits_emoji_and_folders_have_preconditioned_energies(dataset):
    config = parsing.configuration_of([f'--dataset={dataset}'])
    assert config.network.energy == 'preconditioned' and config.diffusion.recipe == 'preconditioned'


def test_flops(capsys):
    """A training step is B (K Langevin steps + 2 parameter passes); convolutions alone give the energy's
    count within 10 %."""
    options = [
        '--image_size=16',
        '--channels=32',
        '--channel_mult=1',
        '--num_res_blocks=1',
        '--batch_size=4',
        '--mcmc_steps=5',
    ]
    _, cost = dry_run(capsys, *TINY, *options)
    number = {label: count for label, count in cost.items() if label.startswith('FLOPs')}
    weights = 9 * (1 * 32 + 2 * 32 * 32)
    convolutions = 2 * 16 * 16 * weights
    assert weights < cost['parameters'] < 3 * weights
    assert number['FLOPs of one energy'] == pytest.approx(convolutions, rel=0.1)
    assert number['FLOPs of one Langevin step of an image'] == pytest.approx(2 * convolutions, rel=0.15)
    assert number['FLOPs of a training step, per image'] == pytest.approx(
        (5 * 2 + 2 * 3) * convolutions, rel=0.15
    )
    assert number['FLOPs of a training step'] == 4 * number['FLOPs of a training step, per image']
    again = dry_run(capsys, *TINY, *options, '--remat')[1]['FLOPs of a training step, per image']
    more = again - number['FLOPs of a training step, per image']
    assert more == pytest.approx(2 * 2 * 16 * 16 * 9 * 2 * 32 * 32, rel=0.1)


@pytest.mark.parametrize('options', [{}, {'sampling_steps': (5,)}, {'schedule': 't1k', 'mcmc_steps': (0,)}])
def test_guidance_doubles_the_gradients_of_an_image(options):
    """It computes two energies: with and without a class."""
    config = configuration.Config().replace(num_classes=10, **options)
    assert flops.gradients(config.replace(guidance=0.5)) == 2 * flops.gradients(config)


def test_the_weights_of_a_unet_count():
    """The gradient in the weights is as large a share of a step as with a residual network."""

    def passes(network):
        small = ['--recipe=preconditioned', '--image_size=16', '--channels=32', '--channel_mult=1']
        options = [*small, '--num_res_blocks=1', f'--network={network}']
        cost = flops.cost(build_model(parsing.configuration_of(options)))
        return cost['FLOPs of a training step, per image'] / cost['FLOPs of one energy']

    assert passes('unet') == pytest.approx(passes('resnet'), rel=0.15)


def test_devices_of_a_dry_run(capsys):
    """They share the batch; arithmetic is that of the hardware asked for, memory is held against that of a
    TPU."""
    _, one = dry_run(capsys, *TINY, '--strategy=one')
    _, tpu = dry_run(capsys, *TINY, '--tpu=NAME', '--dry_run_devices=8', '--precision=auto')
    assert (one['devices'], tpu['devices'], tpu['precision']) == (1, 8, 'bfloat16')
    heights = ['--recipe=preconditioned', '--mcmc_steps=0', '--recovery_nce=0.1', '--precision=bfloat16']
    assert dry_run(capsys, *TINY, *heights)[1]['precision'] == 'float32'
    step = 'FLOPs of a training step'
    assert one[step] == tpu[step] == 8 * tpu[f'{step}, per device']
    assert '--dry_run_devices' in refused(capsys, *TINY, '--dry_run', '--tpu=NAME')
    assert 'is for --dry_run' in refused(capsys, *TINY, '--dry_run_devices=2')
    assert 'does not go with' in refused(capsys, *TINY, '--dry_run', '--dry_run_devices=2', '--strategy=one')


def test_a_dry_run_is_readable_and_speaks_of_the_devices_asked_for(capsys):
    code, mine, _ = call(capsys, '--dry_run', *TINY)
    assert code == 0 and 'precision: float32' in mine and 'TPU' not in mine and '{' not in mine
    assert {'batch_size=8', 'channel_mult=1'} <= set(mine.split())
    large = ['--batch_size=1000000', '--tpu=NAME', '--dry_run_devices=1', '--precision=auto']
    _, out, _ = call(capsys, '--dry_run', *TINY, *large)
    (line,) = [line for line in out.splitlines() if 'TPU' in line]
    needed = int(out.partition('bytes of a device: ')[2].split('\n')[0].replace(',', ''))
    assert f': {needed / 2**34:.0%}' in line and needed > 2**34 and '--microbatches' in line


@pytest.mark.parametrize('path', sorted((ROOT / 'flags').glob('*.flags')), ids=lambda path: path.name)
def test_every_preset_is_valid(path):
    """It is named after a recipe, or a dataset and maybe an image size and a recipe; it is read; its command
    is as printed."""
    text, families = path.read_text(), {spec.presets: name for name, spec in dataset_table.DATASETS.items()}
    families |= {name: name for name in dataset_table.DATASETS}
    if path.stem.startswith('recipe_'):
        arguments = [f'--recipe={path.stem.removeprefix("recipe_")}', '--dataset=cifar10']
    else:
        name = max((name for name in families if f'{path.stem}_'.startswith(f'{name}_')), key=len)
        rest = path.stem.removeprefix(name).split('_')[1:]
        arguments = [f'--image_size={word}' if word.isdigit() else f'--recipe={word}' for word in rest]
        arguments.append(f'--dataset={families[name]}')
    assert text.startswith('#') and 'Command: python run.py' in text
    config = parsing.configuration_of(arguments)
    alone = parsing.parse(['run.py'], [path])
    groups = [parsing.group_of(group.type, alone) for group in configuration.groups()]
    mine = {name: value for group in groups for name, value in vars(group).items() if alone[name].present}
    assert mine and mine.items() & {field.name: value for field, value in config.options()}.items()


def test_the_table_of_presets_is_that_of_the_files():
    """Batch, K and steps of each row; not the steps of folders, which depend on the pictures."""
    rows = [
        [cell.strip() for cell in line.split('|')[1:-1]]
        for line in (ROOT / 'docs' / 'presets.md').read_text().splitlines()
        if line.startswith('| `') and not line.startswith('| `--')
    ]
    for name, recipe, pixels, batch, K, *_, steps in rows:
        dataset = name.split('`')[1]
        config = parsing.configuration_of(
            [f'--dataset={dataset}', f'--recipe={recipe.strip("`")}', f'--image_size={pixels}']
        )
        found = config.training.batch_size, config.steps_by_level[0], f'{config.training.train_steps:,}'
        assert found[:2] == (int(batch), int(K)), name
        assert dataset == 'folder' or found[2] == steps, name
    assert len(rows) > 20


def test_flagfile(capsys, tmp_path):
    (tmp_path / 'mine.flags').write_text('--batch_size=7\n')
    assert dry_run(capsys, *TINY, f'--flagfile={tmp_path}/mine.flags')[0]['training']['batch_size'] == 7
