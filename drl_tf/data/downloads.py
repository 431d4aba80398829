"""Archives of datasets: taken from --manual_dir, or downloaded with resume, and held against size and
SHA-256."""

import dataclasses
import hashlib
import os
import pathlib
import queue
import shutil
import threading

import requests
import tensorflow as tf
import tqdm

from drl_tf.base.errors import UserError

ANSWER_SECONDS = 3
STALL_SECONDS = 20
_FUTILE_ATTEMPTS = 3
FUTILE_BYTES = 2**20
CHUNK_BYTES = 2**14
_DRIVE = 'https://drive.google.com/uc?'
DRIVE_FILES = 'https://drive.usercontent.google.com/download?confirm=t&'


@dataclasses.dataclass(frozen=True)
class Archive:
    """A published file.

    Attributes:
      name: the file name it must have.
      url: where it is published.
      size: in bytes.
      checksum: SHA-256, hexadecimal.
    """

    name: str
    url: str
    size: int
    checksum: str

    @property
    def unpacked_name(self):
        """The directory that the archive is unpacked to."""
        return pathlib.PurePath(self.name).stem


class _AskedError(Exception):
    """Carries the URLs that a builder asks its download manager for."""


class _NoAnswerError(Exception):
    """A server gave nothing that could be used; the message says what it did."""


class _Asking:
    """Stands in for a download manager and stops the builder at its first request."""

    def download(self, urls):
        raise _AskedError(urls)

    download_and_extract = download


def wanted(builder) -> list[Archive]:
    """The archives that a tensorflow-datasets builder asks for, in its order; none for a builder that knows
    no checksums."""
    if not builder.url_infos:
        return []
    try:
        builder._split_generators(_Asking())
    except _AskedError as asked:
        (urls,) = asked.args
    urls = tf.nest.flatten(urls)
    infos = [builder.url_infos[url] for url in urls]
    return [
        Archive(info.filename, url, int(info.size), info.checksum)
        for url, info in zip(urls, infos, strict=True)
    ]


def gather(
    archives: list[Archive], manual_dir: str, downloads: str, unpacked: bool = False
) -> dict[str, str]:
    """Has archives in one directory: those of the user, those that were downloaded before, and those
    downloaded now.

    Downloads go to `<name>.part` and are taken up there again, after a kill also; what is whole and has the
    right checksum gets its name. Servers have 3 seconds to answer and 20 between two pieces; three
    connections in a row that bring less than 1 MiB end the attempt, and the part is kept.

    Args:
      archives: what is needed.
      manual_dir: the user's directory, or ''.
      downloads: where downloads are kept; made where need be.
      unpacked: a directory that the user unpacked an archive to will do for it.

    Returns:
      {file name: path} of the archives, or of what they were unpacked to.

    Raises:
      UserError: an archive cannot be had, is cut off or is another file, or there is no room for it.
    """
    os.makedirs(downloads, exist_ok=True)
    found = {archive: _find(archive, manual_dir, downloads, unpacked) for archive in archives}
    missing = [archive for archive, path in found.items() if not path]
    check_room(
        downloads,
        sum(archive.size - _size(_part(archive, downloads)) for archive in missing),
        'the downloads',
    )
    for archive in missing:
        try:
            found[archive] = _download(archive, downloads)
        except _NoAnswerError as error:
            raise UserError(f'{archive.url} {error}: {_by_hand(missing, unpacked)}') from error
    return {os.path.basename(path): os.path.abspath(path) for path in found.values()}


def download(url: str, path: str):
    """Downloads a file of unknown size and checksum in one go, with the time limits of `gather`.

    Raises:
      UserError: the server does not answer in time, or with no file, or breaks off.
    """
    try:
        with _answer(url, 0) as response:
            _check_answer(response)
            length = int(response.headers.get('Content-Length', 0)) or None
            _save(response, path, 'wb', desc=os.path.basename(path), total=length)
    except _NoAnswerError as error:
        raise UserError(f'{url} {error}') from error
    except requests.RequestException as error:
        raise UserError(f'{url} stopped after {_size(path):,} bytes') from error


def check_room(directory: str, size: int, what: str):
    """Raises UserError when a disk has no room for `size` bytes."""
    free = shutil.disk_usage(directory).free
    if size > free:
        raise UserError(
            f'{directory} has {free / 2**30:.1f} GiB free and {what} take {size / 2**30:.1f}: make room, or '
            'give --data_dir'
        )


def _by_hand(missing, unpacked):
    files = ', '.join(f'{archive.name} ({archive.url})' for archive in missing)
    return (
        f'fetch by other means {files} into a directory DIR{", zipped or unpacked," * unpacked} and '
        'give --manual_dir=DIR'
    )


def _find(archive, manual_dir, downloads, unpacked):
    """The path of a sound archive that is there, or of the directory it was unpacked to, or None."""
    if manual_dir and unpacked and os.path.isdir(path := os.path.join(manual_dir, archive.unpacked_name)):
        return path
    for directory in filter(None, (manual_dir, downloads)):
        if os.path.isfile(path := os.path.join(directory, archive.name)):
            if directory == downloads:
                _check(path, archive, f'remove it and fetch it again from {archive.url}')
            elif unpacked:
                place = os.path.join(manual_dir, archive.unpacked_name)
                _check(
                    path,
                    archive,
                    f'fetch it again from {archive.url}, or, if it is sound, unpack it to {place}',
                    ', or zipped anew',
                )
            else:
                _check(path, archive, f'fetch it again from {archive.url}')
            return path
    return None


def _check(path, archive, advice, otherwise=''):
    """Raises UserError unless a file is the archive; `otherwise` is what else than damaged it may be."""
    size = os.path.getsize(path)
    if size != archive.size:
        kind = 'cut off' if size < archive.size else 'another file'
        raise UserError(
            f'{path} is {kind}{otherwise}: it has {size:,} bytes, {archive.size:,} are expected; {advice}'
        )
    print(f'checking {path}', flush=True)
    with open(path, 'rb') as file:
        checksum = hashlib.file_digest(file, 'sha256').hexdigest()
    if checksum != archive.checksum:
        raise UserError(
            f'{path} is damaged{otherwise}: its SHA-256 is {checksum}, {archive.checksum} is expected; '
            f'{advice}'
        )


def _part(archive, downloads):
    return os.path.join(downloads, f'{archive.name}.part')


def _size(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


def _download(archive, downloads):
    """The path of an archive, downloaded from where its part ends."""
    path, part = os.path.join(downloads, archive.name), _part(archive, downloads)
    if _size(part) > archive.size:
        os.remove(part)
    futile = 0
    while _size(part) < archive.size:
        start = _size(part)
        try:
            _receive(archive, part)
        except _NoAnswerError as error:
            if not start:
                raise
            problem = str(error)
        except requests.RequestException:
            problem = f'stopped after {_size(part):,} of {archive.size:,} bytes'
        else:
            problem = f'ended after {_size(part):,} of {archive.size:,} bytes'
        futile = futile + 1 if _size(part) - start < FUTILE_BYTES else 0
        if futile >= _FUTILE_ATTEMPTS and _size(part) < archive.size:
            raise _NoAnswerError(f'{problem}, {futile} times in a row (run again to go on where it ended)')
    try:
        _check(part, archive, f'fetch it again from {archive.url}')
    except UserError:
        os.remove(part)
        raise
    os.replace(part, path)
    return path


def _receive(archive, part):
    """Appends to a part what one connection brings; a server that knows no ranges begins anew."""
    have = _size(part)
    with _answer(archive.url, have) as response:
        if response.status_code == requests.codes.range_not_satisfiable:
            os.remove(part)
            raise _NoAnswerError('does not have the rest of the file')
        resumed = response.status_code == requests.codes.partial_content
        offered = int(response.headers.get('Content-Length', archive.size - have * resumed)) + have * resumed
        _check_answer(response)
        if offered != archive.size:
            raise _NoAnswerError(f'offers {offered:,} bytes where {archive.size:,} are expected')
        _save(
            response,
            part,
            'ab' if resumed else 'wb',
            desc=archive.name,
            total=archive.size,
            initial=have * resumed,
        )


def _check_answer(response):
    """Raises _NoAnswerError for an answer that brings no file."""
    if response.status_code not in (requests.codes.ok, requests.codes.partial_content):
        raise _NoAnswerError(f'answered {response.status_code} {response.reason}')
    if 'text/html' in response.headers.get('Content-Type', ''):
        raise _NoAnswerError(
            'answered with a web page instead of the file (a quota, or a question to a person)'
        )


def _save(response, path, mode, **progress):
    """Writes what an answer brings, with a bar of progress."""
    with open(path, mode) as file, tqdm.tqdm(unit='B', unit_scale=True, **progress) as bar:
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))


def _answer(url, start):
    """The response from byte `start` on, its head read; asked for in a thread, because a name server can be
    silent for minutes."""
    answers = queue.SimpleQueue()
    headers = {'Accept-Encoding': 'identity'} | ({'Range': f'bytes={start}-'} if start else {})

    def ask():
        try:
            url_of_file = url.replace(_DRIVE, DRIVE_FILES)
            answers.put(
                requests.get(
                    url_of_file, headers=headers, stream=True, timeout=(ANSWER_SECONDS, STALL_SECONDS)
                )
            )
        except requests.RequestException as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_SECONDS)
    except queue.Empty as error:
        answer = requests.Timeout(error)
    if isinstance(answer, requests.Timeout):
        raise _NoAnswerError(f'did not answer within {ANSWER_SECONDS} seconds') from answer
    if isinstance(answer, Exception):
        raise _NoAnswerError(f'cannot be reached ({type(answer).__name__})') from answer
    return answer
