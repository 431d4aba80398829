"""Builds the notebooks of the examples from their Python files, and runs them.

    python examples/notebooks.py build      # writes the .ipynb file of each NN_name.py
    python examples/notebooks.py run        # runs each from top to bottom, into runs/examples/
    python examples/notebooks.py run 03     # only those whose names begin with 03

The Python files are in jupytext's percent format. The built notebooks hold no outputs.
"""

import argparse
import concurrent.futures
import pathlib
import sys
import tempfile
import time

import jupytext
import nbformat

HERE = pathlib.Path(__file__).parent
EXECUTED = HERE.parent / 'runs' / 'examples'
_KERNEL = {'display_name': 'Python 3', 'language': 'python', 'name': 'python3'}
_LONGEST = 300  # Seconds that a cell may take.
_AT_ONCE = 2  # Notebooks that run at the same time: much of each uses one core.


def sources(prefix: str = '') -> list[pathlib.Path]:
    """Returns the Python files of the examples whose names begin with `prefix`, in order."""
    return [path for path in sorted(HERE.glob('[0-9][0-9]_*.py')) if path.name.startswith(prefix)]


def built(source: pathlib.Path) -> nbformat.NotebookNode:
    """Returns the notebook of a Python file, always the same for the same file."""
    notebook = jupytext.read(source, fmt='py:percent')
    notebook.metadata = nbformat.from_dict({'kernelspec': _KERNEL})
    for number, cell in enumerate(notebook.cells):
        cell.id = f'cell-{number:02d}'
        cell.metadata = nbformat.from_dict({})
    return notebook


def text(source: pathlib.Path) -> str:
    """Returns the content of the .ipynb file of a Python file."""
    return nbformat.writes(built(source)) + '\n'


def run(source: pathlib.Path) -> float:
    """Runs a notebook in an empty directory, and writes it with its outputs to `EXECUTED`.

    Args:
      source: the Python file of the notebook.

    Returns:
      The seconds that it took.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell failed.
    """
    from nbclient import NotebookClient

    notebook = built(source)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        client = NotebookClient(notebook, timeout=_LONGEST, resources={'metadata': {'path': directory}})
        try:
            client.execute()
        finally:
            EXECUTED.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, EXECUTED / source.with_suffix('.ipynb').name)
    return time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description='Builds the notebooks of the examples, or runs them.')
    parser.add_argument('action', choices=['build', 'run'])
    parser.add_argument('prefix', nargs='?', default='', help='beginning of the names, such as 03')
    arguments = parser.parse_args()
    found = sources(arguments.prefix)
    if not found:
        sys.exit(f'error: no example begins with {arguments.prefix!r}')
    if arguments.action == 'build':
        for source in found:
            source.with_suffix('.ipynb').write_text(text(source), encoding='utf-8')
        return
    with concurrent.futures.ProcessPoolExecutor(_AT_ONCE) as pool:
        for source, seconds in zip(found, pool.map(run, found), strict=True):
            print(f'{source.name}: {seconds:.0f} s', flush=True)


if __name__ == '__main__':
    main()
