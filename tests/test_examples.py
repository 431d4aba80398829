"""The examples: valid Python, one install cell, notebooks that are built from them, names that there are."""

import ast
import importlib
import importlib.util
import subprocess
import sys
import types

import pytest
from helpers.tiny import ROOT

from drl_tf.cli import parsing

spec = importlib.util.spec_from_file_location('examples_notebooks', ROOT / 'examples' / 'notebooks.py')
notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(notebooks)
SOURCES = notebooks.sources()
each = pytest.mark.parametrize('source', SOURCES, ids=lambda source: source.stem)


def install_cell(source):
    """The first cell of code of an example."""
    return next(cell.source for cell in notebooks.built(source).cells if cell.cell_type == 'code')


def tree(source):
    return ast.parse(source.read_text(encoding='utf-8'))


def test_there_are_examples_and_each_has_its_notebook():
    assert len(SOURCES) >= 5
    built = {path.stem for path in (ROOT / 'examples').glob('*.ipynb')}
    assert built == {source.stem for source in SOURCES}


@each
def test_the_notebook_is_the_one_that_is_built_from_the_python_file(source):
    stored = source.with_suffix('.ipynb').read_text(encoding='utf-8')
    assert stored == notebooks.text(source), 'run `make notebooks`'


@each
def test_notebooks_begin_with_a_title_and_store_no_outputs(source):
    cells = notebooks.built(source).cells
    assert cells[0].cell_type == 'markdown' and cells[0].source.startswith('# ')
    assert not any(cell.get('outputs') for cell in cells)


def test_all_examples_have_the_same_install_cell():
    assert len({install_cell(source) for source in SOURCES}) == 1


@pytest.mark.parametrize('in_colab', [False, True])
def test_the_install_cell_installs_in_colab_alone(in_colab, monkeypatch):
    commands = []
    monkeypatch.setattr(subprocess, 'run', lambda command, **options: commands.append(command))
    if in_colab:
        monkeypatch.setitem(sys.modules, 'google.colab', types.ModuleType('google.colab'))
    exec(install_cell(SOURCES[0]), {})
    assert [command[1:4] for command in commands] == [['-m', 'pip', 'install']] * in_colab


@each
def test_what_examples_import_from_the_package_is_there(source):
    wanted = [node for node in ast.walk(tree(source)) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in wanted if node.module.split('.')[0] == 'drl_tf']
    assert ours or 'import drl_tf' in source.read_text(encoding='utf-8')
    for node in ours:
        module = importlib.import_module(node.module)
        for alias in node.names:
            if not hasattr(module, alias.name):
                importlib.import_module(f'{node.module}.{alias.name}')


@each
def test_options_in_examples_are_ones_that_there_are(source):
    calls = [node for node in ast.walk(tree(source)) if isinstance(node, ast.Call)]
    words = [
        argument.value
        for call in calls
        if ast.unparse(call.func) == 'run'
        for argument in call.args
        if isinstance(argument, ast.Constant)
    ]
    fields = {name for group in parsing.option_groups() for name in group.__dataclass_fields__}
    assert {word.removeprefix('--').split('=')[0] for word in words} <= fields
