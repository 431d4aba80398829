"""Runs a program, and records its start, its duration and its peak memory.

    python launcher.py NOTES.json PROGRAM [ARGUMENT ...]

`drl_tf.tools.bench` starts programs through this small one, because Linux counts the memory of the parent
process towards a program's peak memory.
"""

import json
import os
import sys
import time


def main(notes: str, words: list[str]) -> int:
    """Runs a program, and records its start, duration and peak memory.

    Args:
      notes: path of the JSON file to write: a dict with 'begin' (the start, in seconds since the epoch),
        'seconds' (from start to end) and 'peak_bytes' (peak memory).
      words: path of the program, and its arguments.

    Returns:
      The exit code of the program.
    """
    begin = time.time()
    process = os.posix_spawn(words[0], words, os.environ)
    _, status, usage = os.wait4(process, 0)
    noted = {'begin': begin, 'seconds': time.time() - begin, 'peak_bytes': 1024 * usage.ru_maxrss}
    with open(notes, 'w', encoding='utf-8') as file:
        json.dump(noted, file)
    return os.waitstatus_to_exitcode(status)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2:]))
