"""The folders of the package stand on floors: an import points down, and `core`, the papers, to nothing."""

import ast
import functools
import pathlib
import sys

from helpers.tiny import ROOT

PACKAGE = ROOT / 'drl_tf'
TESTS = ROOT / 'tests'
# From the bottom up. `api` is the one module beside the folders.
FLOORS = [
    ('base', 'core'),
    ('config',),
    ('distributed', 'data'),
    ('runs', 'planning'),
    ('serving', 'evaluation', 'report'),
    ('training', 'editing'),
    ('experiments', 'api'),
    ('app',),
    ('cli',),
    ('tools',),
]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
FLOOR = {folder: number for number, folders in enumerate(FLOORS) for folder in folders}


@functools.cache
def modules(root=PACKAGE):
    """{path below the root: its syntax tree}"""
    return {path.relative_to(root): ast.parse(path.read_text()) for path in root.rglob('*.py')}


def folder_of(path):
    """The folder of a module, or the name of a module at the top."""
    return path.parts[0] if len(path.parts) > 1 else path.stem


def imported(tree):
    """Full names that a module imports, at its top or within a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f'{"." * node.level}{node.module}.{alias.name}' for alias in node.names)


def imports():
    """(path, the other folder that it imports from); `drl_tf` itself is its version."""
    for path, tree in modules().items():
        for name in imported(tree):
            assert not name.startswith('.'), f'{path}: a relative import'
            package, *rest = name.split('.')
            inside = package == PACKAGE.name and rest not in ([], ['__version__'])
            if inside and rest[0] != folder_of(path):
                yield path, rest[0]


def test_no_folder_reaches_api_through_the_package_itself():
    """The names that `drl_tf` exports are those of `api`, whose floor is above most others."""
    used = {
        node.attr
        for path, tree in modules().items()
        if FLOOR.get(folder_of(path), 0) < FLOOR['api']
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == 'drl_tf'
    }
    assert used <= {'__file__', '__version__'}


def test_every_folder_has_its_tests():
    tested = {path.relative_to(TESTS).parts[0] for path in TESTS.rglob('test_*.py')}
    assert tested >= {*FLOOR} - {'api'}


def test_imports_point_down():
    upwards = [
        f'{path} imports {folder}'
        for path, folder in imports()
        if path != pathlib.Path('__init__.py') and FLOOR.get(folder, len(FLOORS)) >= FLOOR[folder_of(path)]
    ]
    assert not upwards


def test_every_folder_has_a_floor():
    folders = {folder_of(path) for path in modules()}
    assert folders <= {*FLOOR, '__init__'}


def test_the_papers_need_nothing_but_numbers():
    """`core` imports nothing else of the package, and of others arrays and networks alone."""
    outside = {
        name.split('.')[0]
        for path, tree in modules().items()
        if folder_of(path) == 'core'
        for name in imported(tree)
        if not name.startswith('drl_tf.core.')
    }
    assert outside - sys.stdlib_module_names <= {'keras', 'numpy', 'tensorflow'}
    assert not outside & {'io', 'json', 'os', 'pathlib', 'shutil', 'signal', 'socket', 'subprocess', 'sys'}


def test_two_modules_lie_at_the_top():
    """The mark of typed packages and links to folders of the repository lie there too."""
    found = {path.name for path in PACKAGE.iterdir() if path.is_file() or path.is_symlink()}
    assert found == {'__init__.py', 'api.py', 'py.typed', 'flags', 'saved_models'}


def lines_of_code(function, lines):
    """How many lines a function has that are neither blank, nor a comment, nor its docstring."""
    body = function.body
    documented = ast.get_docstring(function) is not None
    docstring = range(body[0].lineno, body[0].end_lineno + 1) if documented else ()
    numbers = range(function.lineno, function.end_lineno + 1)
    texts = (lines[number - 1].strip() for number in numbers if number not in docstring)
    return sum(bool(text) and not text.startswith('#') for text in texts)


def test_lines_of_code_are_counted():
    source = (
        'def f(\n    x,\n):\n    """One.\n\n    Two.\n    """\n    # A comment.\n\n    return x  # Back.\n'
    )
    assert lines_of_code(ast.parse(source).body[0], source.splitlines()) == 4
    assert lines_of_code(ast.parse('def f(): pass').body[0], ['def f(): pass']) == 1


def test_functions_have_at_most_40_lines():
    long = []
    for root in (PACKAGE, TESTS):
        for path, tree in modules(root).items():
            lines = (root / path).read_text().splitlines()
            for node in ast.walk(tree):
                if isinstance(node, FUNCTIONS) and (count := lines_of_code(node, lines)) > 40:
                    long.append(f'{root.name}/{path}: {node.name} has {count}')
    assert not long


def test_files_have_at_most_300_lines():
    paths = [root / path for root in (PACKAGE, TESTS) for path in modules(root)]
    counts = {str(path): len(path.read_text().splitlines()) for path in paths}
    assert not {path: count for path, count in counts.items() if count > 300}


def public_functions(tree):
    """Public functions of a module, and public methods (and `__init__`) of its public classes."""
    for node in tree.body:
        is_public = not getattr(node, 'name', '_').startswith('_')
        if isinstance(node, FUNCTIONS) and is_public:
            yield node
        if isinstance(node, ast.ClassDef) and is_public:
            methods = (member for member in node.body if isinstance(member, FUNCTIONS))
            yield from (method for method in methods if method.name[0] != '_' or method.name == '__init__')


def without_hints(function):
    """Names of the arguments of a function that have no type hint, and 'return' where it has none."""
    signature = function.args
    arguments = [*signature.posonlyargs, *signature.args, *signature.kwonlyargs]
    arguments += filter(None, (signature.vararg, signature.kwarg))
    names = [argument.arg for argument in arguments if argument.annotation is None]
    missing = [name for name in names if name not in ('self', 'cls')]
    returns = function.returns or function.name == '__init__'
    return missing if returns else [*missing, 'return']


def fields_without_hints(tree):
    """Fields of the dataclasses of a module that are assigned without a type hint, 'Class.field'."""
    for node in tree.body:
        decorators = getattr(node, 'decorator_list', ())
        if isinstance(node, ast.ClassDef) and any('dataclass' in ast.unparse(each) for each in decorators):
            assigned = [
                target for line in node.body if isinstance(line, ast.Assign) for target in line.targets
            ]
            yield from (f'{node.name}.{ast.unparse(target)}' for target in assigned)


def test_missing_type_hints_are_found():
    source = (
        'class A:\n    def f(self, x, *y: int, z): pass\n\ndef g(x: int) -> int: pass\n\ndef _h(x): pass\n'
    )
    found = [(function.name, without_hints(function)) for function in public_functions(ast.parse(source))]
    assert found == [('f', ['x', 'z', 'return']), ('g', [])]
    source = '@dataclasses.dataclass\nclass A:\n    x: int = 1\n    y = 2\n'
    assert list(fields_without_hints(ast.parse(source))) == ['A.y']


def test_public_functions_have_type_hints():
    missing = []
    for path, tree in modules().items():
        for function in public_functions(tree):
            if names := without_hints(function):
                missing.append(f'{path}: {function.name} lacks hints of {", ".join(names)}')
        missing += [f'{path}: {field} lacks a hint' for field in fields_without_hints(tree)]
    assert not missing
