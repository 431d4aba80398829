"""The tests use what is public in the package."""

import ast
import re

from helpers.tiny import ROOT

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def is_private(name):
    return name.startswith('_') and not name.endswith('__') and name != '_'


def defined(tree):
    """The names that a module defines: functions, classes, variables and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            yield node.name
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


def used(tree):
    """The names that a module uses as `x.name`, `from x import name`, `setattr(x, 'name')` or `(x, 'name')`,
    or writes as '..x.name' in a string; attributes of `self` are its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ('self', 'cls'):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call | ast.Tuple):
            parts = node.args if isinstance(node, ast.Call) else node.elts
            yield from (part.value for part in parts[1:] if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r'\w\.(_\w+)', node.value)


def test_uses_of_private_names_are_found():
    source = (
        'from drl_tf.a import _b\n'
        'c._d, self._e, f.g, f()._h\n'
        "setattr(c, '_i', 1)\n"
        "patch('drl_tf.a._j'), text.endswith('_k'), (c, '_l')\n"
        "SCRIPT = 'import a; a._m()'\n"
    )
    found = {name for name in used(ast.parse(source)) if isinstance(name, str) and is_private(name)}
    assert found == {'_b', '_d', '_h', '_i', '_j', '_l', '_m'}
    source = 'class _A:\n    _b = 1\n    def _c(self):\n        self._d = _e = 2\n'
    assert set(defined(ast.parse(source))) == {'_A', '_b', '_c', '_d', '_e'}


def test_tests_use_what_is_public():
    modules = (ROOT / 'drl_tf').rglob('*.py')
    private = {name for path in modules for name in defined(ast.parse(path.read_text())) if is_private(name)}
    found = {
        (str(path.relative_to(ROOT / 'tests')), name)
        for path in (ROOT / 'tests').rglob('*.py')
        if path.name != 'test_tests.py'
        for name in {*used(ast.parse(path.read_text()))} & private
    }
    assert not found
