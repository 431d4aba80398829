"""The dataset LSUN: a tensorflow-datasets builder that reads the published LMDB archives.

Yu et al., *LSUN: Construction of a Large-scale Image Dataset using Deep Learning with Humans in the Loop*,
arXiv 1506.03365.
"""

import dataclasses
import os
import re
import shutil
import zipfile
from typing import Any

import tensorflow_datasets as tfds

from drl_tf.base.errors import UserError
from drl_tf.base.files import written_aside
from drl_tf.data import downloads, lmdb_files, lsun_shards

_STOCK: Any = tfds.builder_cls('lsun')


class Lsun(_STOCK, skip_registration=True):  # type: ignore[call-arg]
    """Dataset builder of LSUN; unlike the one in tensorflow-datasets, it does not need tensorflow-io.

    The configuration `<category>` stores the published JPEG or WebP files; `<category>_<N>px` stores PNG
    files of N x N pixels, cropped and resized.

    Args:
      config: name of the configuration, such as 'church_outdoor' or 'church_outdoor_64px'.
      kwargs: other arguments of a tensorflow-datasets builder, such as `data_dir`.
    """

    name = 'lsun'
    url_infos = _STOCK.url_infos

    def __init__(self, *, config: str, **kwargs: Any) -> None:
        self.category, self.size = _category_and_size(config)
        if self.size:
            (stock,) = [known for known in self.BUILDER_CONFIGS if known.name == self.category]
            description = f'{stock.description}, cropped and resized to {self.size} px'
            super().__init__(
                config=dataclasses.replace(stock, name=config, description=description), **kwargs
            )
        else:
            super().__init__(config=config, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        info = super()._info()
        return tfds.core.DatasetInfo(
            builder=self,
            description=info.description,
            features=lsun_shards.features(self.size),
            homepage=info.homepage,
            citation=info.citation,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        names = [self.category + end for end in ('_train_lmdb.zip', '_val_lmdb.zip', '.zip')]
        return dl_manager.download(
            {info.filename: url for url, info in self.url_infos.items() if info.filename in names}
        )

    def _download_and_prepare(
        self, dl_manager: tfds.download.DownloadManager, download_config: tfds.download.DownloadConfig
    ) -> None:
        """Writes the shards of all splits beside the downloads; moves them to the dataset when all are whole.

        A later run keeps the shards that an interrupted run has finished.
        """
        work = os.path.join(dl_manager.download_dir, f'{self.name}_{self.builder_config.name}')
        archives = {
            _split(name): os.path.join(download_config.manual_dir, name)
            for name in os.listdir(download_config.manual_dir)
        }
        databases = {split: unpacked(path, work) for split, path in sorted(archives.items())}
        shards = [
            shard
            for split, directory in databases.items()
            for shard in lsun_shards.plan(split, directory, self.size, work)
        ]
        if not self.size:
            needed = sum(os.path.getsize(lmdb_files.file_of(directory)) for directory in databases.values())
            written = sum(os.path.getsize(shard.path) for shard in shards if os.path.exists(shard.path))
            downloads.check_room(work, needed - written, 'the prepared pictures')
        notes = lsun_shards.write_all(shards, databases)
        infos = []
        for split in databases:
            mine = [shard.path for shard in shards if shard.split == split]
            infos.append(self._move(split, mine, [notes[path] for path in mine]))
        self.info.set_splits(tfds.core.splits.SplitDict(infos))
        shutil.rmtree(work)

    def _move(self, split: str, paths: list[str], notes: list[dict[str, Any]]) -> tfds.core.SplitInfo:
        """Moves the shards of a split to the dataset's directory, and returns the split's description."""
        template = self._get_filename_template(split)
        for source, target in zip(paths, template.sharded_filepaths(len(paths)), strict=True):
            os.replace(source, target)
        lengths = [note['examples'] for note in notes]
        return tfds.core.SplitInfo(split, lengths, sum(note['bytes'] for note in notes), template)


def _category_and_size(config: str) -> tuple[str, int]:
    """Splits the name of a configuration into category and size; 0 if the name has no size."""
    category, _, size = config.rpartition('_')
    if re.fullmatch(r'\d+px', size):
        return category, int(size.removesuffix('px'))
    return config, 0


def _split(archive: str) -> str:
    return 'validation' if '_val_lmdb' in archive else 'train'


def unpacked(path: str, work: str) -> str:
    """Returns the LMDB directory of a downloaded archive; unpacks the archive if that is not done yet.

    Args:
      path: a zip archive; or an LMDB directory, which is returned as it is.
      work: directory in which archives are unpacked.

    Raises:
      UserError: the archive is damaged, or the disk is too full.
    """
    path = os.path.realpath(path)
    if os.path.isdir(path):
        return path
    target = os.path.join(work, os.path.basename(path).removesuffix('.zip'))
    if os.path.exists(lmdb_files.file_of(target)):
        return target
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            (member,) = [each for each in members if os.path.basename(each.filename) == 'data.mdb']
            os.makedirs(target, exist_ok=True)
            downloads.check_room(target, member.file_size, f'{path}, unpacked,')
            print(f'unpacking {path}', flush=True)
            with archive.open(member) as packed, written_aside(lmdb_files.file_of(target), 'wb') as file:
                shutil.copyfileobj(packed, file, 2**20)
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        raise UserError(f'{path} is damaged or holds no data.mdb ({error}): fetch it again') from error
    return target
