"""Reads the files of a run; a damaged file becomes a problem that the page names."""

import json

import numpy as np
import pytest
from PIL import Image

from drl_tf.base.errors import UserError
from drl_tf.config.config import Config
from drl_tf.report import run_files


@pytest.fixture
def workdir(tmp_path):
    Config().save(tmp_path)
    return tmp_path


def lines(*steps):
    return ''.join(json.dumps({'step': step, 'loss': step / 10}) + '\n' for step in steps)


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r'holds no config\.json'):
        run_files.read(str(tmp_path))


def test_a_new_run_has_nothing(workdir):
    run = run_files.read(str(workdir))
    assert (run.log, run.scores, run.results, run.grids, run.rollbacks) == ([], [], {}, {}, [])
    assert run.measured is None and run.problems == [] and run.name == workdir.name
    assert run.step == run.last_step == 0


def test_the_last_step_is_also_that_of_a_grid(workdir):
    (workdir / 'metrics.jsonl').write_text(lines(10, 20))
    (workdir / 'samples').mkdir()
    (workdir / 'samples' / '00000027.png').touch()
    run = run_files.read(str(workdir))
    assert (run.step, run.last_step) == (20, 27)


def test_everything_is_read(workdir):
    (workdir / 'metrics.jsonl').write_text(lines(10, 20))
    (workdir / 'evaluations.jsonl').write_text(lines(20))
    (workdir / 'rollbacks.json').write_text('[5, 7]')
    (workdir / 'diverged-5.json').write_text('{"loss": 1e9}')
    for directory in ('evaluation', 'likelihood', 'long_run/a', 'samples'):
        (workdir / directory).mkdir(parents=True)
    (workdir / 'evaluation' / 'a.json').write_text('{"fid": 3.5}')
    (workdir / 'likelihood' / 'b.json').write_text('{"discrete_low": 1.0}')
    (workdir / 'long_run' / 'a' / 'metrics.json').write_text('{"levels": {}}')
    for name in ('00000020.png', '00000003.png', 'data.png', '00000020-ema.png'):
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(workdir / 'samples' / name)
    run = run_files.read(str(workdir))
    assert [line['loss'] for line in run.log] == [1.0, 2.0] and run.step == 20
    assert run.scores == [{'step': 20, 'loss': 2.0}] and run.rollbacks == [5, 7]
    assert list(run.grids) == [3, 20] and run.grids[3].endswith('samples/00000003.png')
    assert run.results_of('evaluation/*.json') == {'evaluation/a.json': {'fid': 3.5}}
    assert set(run.results_of('long_run/*/metrics.json')) == {'long_run/a/metrics.json'}
    assert set(run.results) == {
        'evaluation/a.json', 'likelihood/b.json', 'long_run/a/metrics.json', 'diverged-5.json'
    }  # fmt: skip
    assert run.problems == []


def test_damaged_files_are_sentences_and_the_rest_is_read(workdir):
    (workdir / 'metrics.jsonl').write_text(lines(10) + '{"step": 20, "lo\n[1]\n{"step": "x"}\n' + lines(30))
    (workdir / 'evaluations.jsonl').write_bytes(b'\xff\xfe')
    (workdir / 'rollbacks.json').write_text('{}')
    (workdir / 'evaluation').mkdir()
    (workdir / 'evaluation' / 'a.json').write_text('[]')
    run = run_files.read(str(workdir))
    assert [line['step'] for line in run.log] == [10, 30]
    assert (run.scores, run.rollbacks, run.results) == ([], [], {})
    assert len(run.problems) == 4 and all(p.endswith('.') and '\n' not in p for p in run.problems)
    assert run.problems[0] == 'metrics.jsonl: 3 of 5 lines are damaged, and are left out.'


def test_a_log_that_is_a_directory_is_a_sentence(workdir):
    (workdir / 'metrics.jsonl').mkdir()
    assert run_files.read(str(workdir)).problems == ['metrics.jsonl cannot be read: Is a directory.']


def test_true_is_no_number():
    assert run_files.numbers_of({'a': 1, 'b': True, 'c': 'x', 'd': None, 'e': 0.5}) == {'a': 1, 'e': 0.5}
