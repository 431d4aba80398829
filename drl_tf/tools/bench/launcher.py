"""Runs a program, and records when it began, how long it took and its peak memory.

    python launcher.py NOTES.json PROGRAM [ARGUMENT ...]

Linux counts the memory of the parent process towards a program's peak memory (`ru_maxrss`). The process of
`drl_tf.tools.bench` is large, so it starts programs through this small one.
"""

import json
import os
import sys
import time


def main(notes: str, words: list[str]) -> int:
    """Runs the program `words`, writes the notes and returns the program's exit code."""
    begin = time.time()
    process = os.posix_spawn(words[0], words, os.environ)
    _, status, usage = os.wait4(process, 0)
    noted = {'begin': begin, 'seconds': time.time() - begin, 'peak_bytes': 1024 * usage.ru_maxrss}
    with open(notes, 'w', encoding='utf-8') as file:
        json.dump(noted, file)
    return os.waitstatus_to_exitcode(status)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2:]))
