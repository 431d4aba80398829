"""The programs that go to the TPU compiler, and the use of its answers; a stand-in replaces the compiler."""

import json
import sys

import pytest
from helpers.tiny import TINY

from drl_tf.cli import parsing
from drl_tf.tools import tpu_compile, tpu_compiler

COMPILER = """
import json, sys
text = open(sys.argv[1]).read()
refused = {'error': 'RESOURCE_EXHAUSTED: Used 17.50G of 15.75G hbm\\n more', 'bytes': int(17.5 * 2**30)}
said = refused if text == 'train 1' else {'bytes': 2**31, 'generated_code_bytes': 2**29}
print('a line of the log')
print(json.dumps({'device': sys.argv[2], 'seconds': 1.5, **said}))
"""


@pytest.mark.parametrize(
    ('program', 'recipe'),
    [('train', 't6'), ('sample', 't1k')],
)
def test_lowered(program, recipe):
    """A module of static shapes, whose variables are updated in place by a training step and left alone by
    the sampler, the same again."""
    flags = [
        f'--recipe={recipe}',
        '--precision=bfloat16',
        f'--num_levels={999 if recipe == "t1k" else 2}',
    ]
    config = parsing.configuration_of([*TINY, *flags])
    text = tpu_compile.lowered(config, program)
    assert 'stablehlo.while' in text and 'tensor<?' not in text and 'bf16' in text
    assert ('may_alias' in text) == (program == 'train')
    size = config.training.batch_size if program == 'train' else config.sampling.sample_batch_size
    assert f'tensor<{size}x16x16x1xf32>' in text
    assert tpu_compile.lowered(config, program) == text and 'loc(' not in text


def test_microbatches_double_until_it_fits_and_nothing_is_compiled_twice(tmp_path, monkeypatch, capsys):
    (tmp_path / 'compiler.py').write_text(COMPILER)
    monkeypatch.setattr(tpu_compile, 'check_compiler', lambda options: None)
    asked = []

    def lowered(config, program):
        asked.append(program)
        return f'train {config.training.microbatches}' if program == 'train' else program

    monkeypatch.setattr(tpu_compile, 'COMPILER', tmp_path / 'compiler.py')
    monkeypatch.setattr(tpu_compile, 'lowered', lowered)
    monkeypatch.setattr(tpu_compile, 'predicted', lambda line: 3 * 2**30)
    results = f'--results={tmp_path}/results.jsonl'
    for _ in range(2):
        tpu_compile.main([f'--python={sys.executable}', results, '--topology=v5e:2x2', *TINY])
    assert asked == ['sample', 'train', 'train'] * 2
    tpu_compile.main(
        [f'--python={sys.executable}', results, '--program=train', *TINY, '--microbatches=2', '--seed=7']
    )
    lines = [json.loads(line) for line in (tmp_path / 'results.jsonl').read_text().splitlines()]
    assert [line.get('microbatches') for line in lines] == [None, 1, 2, 2] and lines[1][
        'bytes'
    ] == 17.5 * 2**30
    assert lines[3]['seconds'] == lines[2]['seconds'] and lines[3]['sha256'] == lines[2]['sha256']
    capsys.readouterr()
    tpu_compile.main([results, '--table'])
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 2 + 4 and rows[2].endswith('| sample | 16 | 16 | yes | 2 | 2.00 | 0.50 |  |')
    assert '| no: RESOURCE_EXHAUSTED' in rows[3] and rows[4].endswith(
        '| train | 8 | 4 | yes | 2 | 2.00 | 0.50 | 3.00 |'
    )


def test_wrong_use(tmp_path, monkeypatch, capsys):
    """One line and exit code 2, before anything is done; a file of results is not made."""
    monkeypatch.setattr(tpu_compile, 'lowered', lambda *_: pytest.fail('work was done'))
    results = f'--results={tmp_path}/none.jsonl'
    for options, part in (([], '--python'), (['--table'], f'{results} is not there')):
        with pytest.raises(SystemExit) as ended:
            tpu_compile.main([results, *options])
        assert ended.value.code == 2 and part in capsys.readouterr().err.splitlines()[-1]
    assert tpu_compile.main([results, f'--python={sys.executable}', *TINY]) == 2
    assert '--python=' in capsys.readouterr().err
    modules = tmp_path / 'modules'
    modules.mkdir()
    for name in ('jax.py', 'libtpu.py'):
        (modules / name).touch()
    monkeypatch.setenv('PYTHONPATH', str(modules))
    for options, part in (
        ([results, '--dataset=cifar11'], '--dataset=cifar11 '),
        ([results, '--datset=digits'], 'datset'),
        (['--results=/proc/none/results.jsonl', *TINY], '/proc/none'),
    ):
        assert tpu_compile.main([f'--python={sys.executable}', *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith('error: ') and part in line
    assert list(tmp_path.iterdir()) == [modules]


@pytest.mark.parametrize(
    'said',
    [
        'XLA:TPU compile permanent error. Ran out of memory. Used 20.50M of 15.75G hbm.',
        'the total memory required for HLO temporaries (20.50M) exceeds available HBM (15.75G).',
    ],
)
def test_a_refusal_for_want_of_memory_says_how_much(said):
    found = tpu_compiler.refusal(f'RESOURCE_EXHAUSTED: {said}')
    assert found['bytes'] == 20.5 * 2**20 and found['error'].startswith('RESOURCE_EXHAUSTED')


def test_other_refusals_say_no_memory():
    assert tpu_compiler.refusal('UNIMPLEMENTED: something') == {'error': 'UNIMPLEMENTED: something'}


def test_modules_are_rewritten_for_jax():
    """The one foreign operation, and booleans: TRUE, FALSE, FALSE and so on, packed and one by one."""
    assert (
        tpu_compiler.for_jax('%1 = mhlo.copy %0 {mhlo.copyright}')
        == '%1 = stablehlo.optimization_barrier %0 {mhlo.copyright}'
    )
    unpacked = '%c = stablehlo.constant dense<"0x01000001000000000001"> : tensor<2x5xi1>'
    assert tpu_compiler.for_jax('%c = stablehlo.constant dense<"0x0902"> : tensor<2x5xi1>') == unpacked
    assert tpu_compiler.for_jax(unpacked) == unpacked
    numbers = 'dense<"0x0902"> : tensor<1xi16>'
    assert tpu_compiler.for_jax(numbers) == numbers
