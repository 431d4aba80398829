"""Two processes on loopback train, sample and score as one does; signals, kills and wrong use reach both."""

import json
import os
import re
import signal
import socket
import time

import numpy as np
import pytest
from helpers import forks, own_data, stand_in
from helpers.tiny import call

from drl_tf.base.files import held
from drl_tf.tools import kills

pytestmark = pytest.mark.slow

OPTIONS = [*kills.OPTIONS, '--sample_batch_size=8', '--num_real=80']
_SECONDS, _STEPS = 400, 60


def free_ports(count):
    sockets = [socket.create_server(('localhost', 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start(directory, *options, differing=((), ()), only=None):
    """Starts two workers, or one of them; what they write is in `out-0` and `out-1` of a directory."""
    addresses, processes = [f'localhost:{port}' for port in free_ports(2)], []
    for index, more in enumerate(differing):
        if only not in (None, index):
            continue
        config = {'cluster': {'worker': addresses}, 'task': {'type': 'worker', 'index': index}}
        out = directory / f'out-{index}'
        surroundings = {**os.environ, 'TF_CONFIG': json.dumps(config)}
        processes.append(forks.start(['run.py', *options, *more], out, out, env=surroundings))
    return processes


def ended(directory, processes):
    """The exit codes of the workers, and the errors that they wrote; none may take long."""
    try:
        codes = [process.wait(_SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    lines = [(directory / f'out-{index}').read_text().splitlines() for index in range(len(processes))]
    return codes, [[line for line in mine if line.startswith(('error: ', 'Traceback'))] for mine in lines]


def wait_for(condition, processes):
    end = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < end and all(process.poll() is None for process in processes)
        time.sleep(0.05)


def test_two_workers_are_one_run(capsys, tmp_path):
    """The loss, gradient norm and weights of 8 steps with clipping, the scores within training, the samples
    and their scores; one writes. Replicas of two networks: test_mirrored.py."""
    options = [
        *OPTIONS,
        '--recipe=t6',
        '--clip_norm=0.1',
        '--num_classes=10',
        '--train_steps=8',
        '--checkpoint_every=4',
        '--evaluate_every=4',
    ]
    options += [
        '--dropout=0.1',
        '--mode=train,sample,evaluate',
        '--num_samples=20',
        '--workdir',
    ]
    codes, errors = ended(tmp_path, start(tmp_path, *options, tmp_path / 'two'))
    assert codes == [0, 0] and errors == [[], []], (tmp_path / 'out-0').read_text()
    assert call(capsys, *options, tmp_path / 'one')[0] == 0
    kills.assert_same(tmp_path / 'one', tmp_path / 'two', 8)
    names = [
        sorted(str(path.relative_to(root)) for path in root.rglob('*'))
        for root in (tmp_path / 'one', tmp_path / 'two')
    ]
    assert [name for name in names[0] if 'events' not in name] == [
        name for name in names[1] if 'events' not in name
    ]
    for shard in (tmp_path / 'one' / 'samples').rglob('*.npz'):
        with np.load(shard) as one, np.load(tmp_path / 'two' / shard.relative_to(tmp_path / 'one')) as two:
            assert np.abs(one['images'].astype(int) - two['images']).max() <= 1
    (one,), (two,) = (list((tmp_path / name / 'evaluation').glob('*.json')) for name in ('one', 'two'))
    scores = [json.loads(path.read_text())['frechet_distance_digits_classifier'] for path in (one, two)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-2)
    assert (
        'training digits' in (tmp_path / 'out-0').read_text()
        and 'training digits' not in (tmp_path / 'out-1').read_text()
    )


def test_two_workers_share_the_images_that_are_scored(capsys, tmp_path):
    """Real ones, and samples that were made elsewhere; the scores are those of one process."""
    images = np.random.default_rng(0).integers(0, 256, [21, 16, 16, 1], np.uint8)
    np.save(tmp_path / 'images.npy', images)
    options = [
        f'--extractor={stand_in.save(tmp_path / "network", says=True)}',
        '--num_real=80',
        '--mode=evaluate',
    ]
    options.append(f'--samples={tmp_path}/images.npy')
    processes = start(tmp_path, '--dataset=digits', *options)
    assert ended(tmp_path, processes) == ([0, 0], [[], []])
    taken = [
        sum(map(int, re.findall(r'took (\d+)', (tmp_path / f'out-{index}').read_text()))) for index in (0, 1)
    ]
    (path,) = tmp_path.glob('images.npy-*.json')
    scores = json.loads(path.read_text())
    assert taken == [40 + 11] * 2
    path.unlink()
    assert call(capsys, '--dataset=digits', *options)[0] == 0
    alone = json.loads(path.read_text())
    assert alone.keys() == scores.keys() and scores['frechet_distance_network'] == pytest.approx(
        alone['frechet_distance_network'], rel=1e-4
    )


@pytest.mark.parametrize('stopped', [0, 1])
def test_a_worker_is_stopped_while_images_are_scored(tmp_path, stopped):
    """It ends as it would alone, and the other, who waits for it, in one line."""
    np.save(tmp_path / 'images.npy', np.zeros([3, 16, 16, 1], np.uint8))
    network = stand_in.save(tmp_path / 'network', says=True)
    processes = start(
        tmp_path,
        '--dataset=digits',
        '--mode=evaluate',
        f'--extractor={network}',
        f'--samples={tmp_path}/images.npy',
    )
    wait_for(lambda: 'took' in (tmp_path / f'out-{stopped}').read_text(), processes)
    processes[stopped].send_signal(signal.SIGINT)
    codes, errors = ended(tmp_path, processes)
    assert (codes[stopped], codes[1 - stopped]) == (130, 4)
    assert ['Traceback' in line for mine in errors for line in mine] == [False, False], errors


def test_a_run_of_two_survives_a_signal_and_a_kill(capsys, tmp_path):
    """SIGTERM to one saves the same step of both, a killed one ends the other; meanwhile and after, the run
    is that of one process. Without chains, which the run of two above has."""
    options = [*OPTIONS, '--recipe=preconditioned', '--mcmc_steps=0', '--evaluate_every=0']
    options += ['--checkpoint_every=5', f'--train_steps={_STEPS}', '--workdir']
    workdir, checkpoints = tmp_path / 'two', tmp_path / 'two' / 'checkpoints'
    processes = start(tmp_path, *options, workdir)
    wait_for((workdir / 'metrics.jsonl').exists, processes)
    processes[1].send_signal(signal.SIGTERM)
    codes, errors = ended(tmp_path, processes)
    saved = max(int(path.name) for path in checkpoints.iterdir())
    assert codes == [143, 143] and saved < _STEPS
    assert errors[0] == errors[1] and f'SIGTERM came: saved at step {saved}' in errors[0][0]

    processes = start(tmp_path, *options, workdir)
    wait_for(lambda: max(int(path.name) for path in checkpoints.glob('0*')) > saved, processes)
    begin = time.monotonic()
    processes[1].kill()
    codes, errors = ended(tmp_path, processes)
    assert codes == [4, -signal.SIGKILL] and time.monotonic() - begin < 60
    assert len(errors[0]) == 1 and 'a worker of this run is gone' in errors[0][0]

    assert ended(tmp_path, start(tmp_path, *options, workdir))[0] == [0, 0]
    assert call(capsys, *options, tmp_path / 'one')[0] == 0
    kills.assert_same(tmp_path / 'one', workdir, _STEPS, rounding=1e-4)
    assert not list(workdir.rglob('*writing*')) and not list(tmp_path.glob('two.*'))


@pytest.mark.parametrize('index, number, code', [(0, signal.SIGTERM, 143), (1, signal.SIGINT, 130)])
def test_a_worker_that_waits_can_be_stopped(tmp_path, index, number, code):
    """Alone, the chief and another end with one line."""
    (process,) = start(tmp_path, *OPTIONS, f'--workdir={tmp_path}/w', only=index)
    out = tmp_path / f'out-{index}'
    wait_for(lambda: 'waiting for 2 workers at localhost:' in out.read_text(), [process])
    process.send_signal(number)
    assert process.wait(60) == code
    errors = [line for line in out.read_text().splitlines() if 'error: ' in line or 'Traceback' in line]
    assert len(errors) == 1 and f'{number.name} came while waiting for 2 workers' in errors[0]


def test_a_second_run_in_the_workdir_is_refused(tmp_path):
    """The chief holds the workdir, whatever the number of workers; both of the second run are told."""
    workdir = tmp_path / 'w'
    with held(workdir):
        codes, errors = ended(tmp_path, start(tmp_path, *OPTIONS, f'--workdir={workdir}'))
    assert codes == [2, 2] and all('in use by another run' in mine[0] for mine in errors)


def test_workers_with_different_options(tmp_path):
    """Both are refused before anything is trained."""
    options = [*OPTIONS, f'--workdir={tmp_path}/w']
    codes, errors = ended(tmp_path, start(tmp_path, *options, differing=((), ('--learning_rate=0.5',))))
    assert codes == [2, 2] and all(
        'worker 1 has other options' in mine[0] and '--learning_rate=0.5 here' in mine[0] for mine in errors
    )
    assert not (tmp_path / 'w').exists()


def test_workers_with_a_configuration_that_cannot_work(tmp_path):
    """The chief checks what a single process checks before it loads TensorFlow; both are refused."""
    options = [*OPTIONS, '--mode=train,sample', '--labels=11', f'--workdir={tmp_path}/w']
    codes, errors = ended(tmp_path, start(tmp_path, *options))
    assert codes == [2, 2] and all('--labels=11' in mine[0] for mine in errors)
    assert not (tmp_path / 'w').exists()


def test_workers_with_different_pictures(tmp_path):
    """One of the copies lacks a picture."""
    for name in ('whole', 'part'):
        (tmp_path / name).mkdir()
        own_data.write('folder', tmp_path / name)
    (tmp_path / 'part' / 'pictures' / 'bee' / '23.png').unlink()
    options = [*OPTIONS, '--dataset=folder', '--evaluate_every=0', f'--workdir={tmp_path}/w']
    places = [(f'--data_dir={tmp_path}/{name}/pictures',) for name in ('whole', 'part')]
    codes, errors = ended(tmp_path, start(tmp_path, *options, differing=places))
    assert codes == [2, 2] and all('worker 1 has other data than the chief' in mine[0] for mine in errors)
