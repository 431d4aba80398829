"""Where modes may write, and where a run may go on."""

import contextlib
import os

import pytest

from drl_tf.base.errors import UserError
from drl_tf.cli import checks, output_checks, parsing
from drl_tf.cli.command_options import Command
from drl_tf.config import config
from drl_tf.experiments import ablation_rows


def test_a_workdir_that_nothing_is_written_to_may_be_read_only(tmp_path, monkeypatch):
    """What is written elsewhere is checked there."""
    asked = []
    model = config.Config().replace(image_size=8, image_channels=1)
    monkeypatch.setattr(output_checks, 'check_writable', lambda place, option: asked.append(option))
    for options, expected in (
        (dict(mode=('export',), export_dir='there'), ['--export_dir']),
        (dict(mode=('sample',), output_dir='there'), ['--output_dir']),
        (dict(mode=('sample', 'evaluate'), output_dir='there'), ['--output_dir', '--workdir']),
        (dict(mode=('sample',)), ['--workdir']),
    ):
        asked.clear()
        checks.check_configuration(Command(**options), model, str(tmp_path))
        assert asked == expected, options


def test_other_pictures_are_not_scored_with_models_of_an_earlier_ablation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shape = ['--image_size=8', '--image_channels=1', '--train_steps=8']
    ours, theirs = (
        parsing.configuration_of([f'--dataset=npz:{tmp_path}/{name}.npz', *shape])
        for name in ('cats', 'dogs')
    )
    row = list(ablation_rows.configs_of(theirs))[-1]
    os.makedirs(f'runs/npz_8_ablation/{row}/checkpoints/00000002')
    theirs.save(f'runs/npz_8_ablation/{row}')
    command = Command(mode=['ablate'])
    output_checks.check_configuration(command, theirs, 'runs/npz_8_ablation')
    with pytest.raises(
        UserError, match=f'/{row} holds a run on .*dogs.npz, not on .*: give another --workdir'
    ):
        output_checks.check_configuration(command, ours, 'runs/npz_8_ablation')


def test_other_pictures_do_not_continue_the_run_in_the_default_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours, theirs = (
        parsing.configuration_of(
            [f'--dataset=npz:{tmp_path}/{name}.npz', '--image_size=8', '--image_channels=1']
        )
        for name in ('cats', 'dogs')
    )
    workdir = 'runs/npz_8_t6'
    os.makedirs(f'{workdir}/checkpoints/00000002')
    theirs.save(workdir)
    output_checks.check_configuration(Command(mode=['train']), theirs, workdir)
    with pytest.raises(
        UserError, match=f'holds a run on {tmp_path}/dogs.npz, not on {tmp_path}/cats.npz: give'
    ):
        output_checks.check_configuration(Command(mode=['train']), ours, workdir)
    for told in (dict(workdir=workdir), dict(restart=True)):
        output_checks.check_configuration(Command(mode=['train'], **told), ours, workdir)
    named = theirs.replace(labels_file='names.csv')
    with pytest.raises(
        UserError, match=rf'dogs.npz, not on {tmp_path}/dogs.npz with --labels_file=names.csv'
    ):
        output_checks.check_configuration(Command(mode=['train']), named, workdir)
    named.save(workdir)
    output_checks.check_configuration(
        Command(mode=['train']), named.replace(labels_file=f'{tmp_path}/names.csv'), workdir
    )


def test_a_run_in_the_folder_of_its_pictures_is_refused(tmp_path, monkeypatch):
    """Its grids would be among the pictures of the next command. A link leads there too."""
    monkeypatch.chdir(tmp_path)
    os.makedirs('pictures/b')
    os.symlink('pictures', 'link')
    os.makedirs('split/train')
    os.makedirs('split/test')
    model = config.Config().replace(dataset='folder', data_dir='pictures', image_size=8, image_channels=1)
    whole = model.replace(data_dir=f'{tmp_path}/pictures')
    drawn = dict(mode=('sample',), workdir='w')
    for options, its, workdir, named in (
        (dict(mode=('train',)), model.replace(data_dir='.'), 'runs/a', '--workdir=runs/a is in --data_dir=.'),
        (dict(mode=('train',)), model, 'link/b/w', '--workdir=link/b/w is in'),
        (dict(mode=('ablate',)), whole, 'pictures', '--workdir=pictures is in'),
        (
            dict(mode=('train', 'sample'), output_dir='pictures/o'),
            model,
            'w',
            '--output_dir=pictures/o is in',
        ),
        (dict(drawn, output_dir='link/o'), whole, 'w', '--output_dir=link/o is in'),
        (dict(drawn, output_dir='pictures2'), whole, 'w', ''),
        (dict(mode=('train',)), model, 'pictures2', ''),
        (dict(mode=('train',)), model.replace(labels_file='a.csv'), 'pictures/w', ''),
        (dict(drawn, output_dir='o'), model.replace(data_dir='.'), 'pictures/w', ''),
        (dict(mode=('sample',)), whole, 'pictures/w', ''),
        (dict(mode=('train',)), model.replace(dataset='npz'), 'pictures/w', ''),
        (dict(mode=('train',)), model, 'pictures/.runs/w', ''),
        (dict(mode=('train',)), model.replace(data_dir='split'), 'split/runs/w', ''),
        (dict(mode=('train',)), model.replace(data_dir='split'), 'split/train/w', 'split/train/w is in'),
    ):
        with pytest.raises(UserError, match=named) if named else contextlib.nullcontext():
            output_checks.check_configuration(Command(**{'workdir': workdir, **options}), its, workdir)
