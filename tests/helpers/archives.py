"""Archives made in memory, and the data options that find them."""

import io
import tarfile

from drl_tf.config import config
from drl_tf.data import dataset_table


def tar(files, mode):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def data_of(dataset, tmp_path, **options):
    return dataset_table.resolve(
        config.Data(
            dataset=dataset, data_dir=str(tmp_path / 'data'), manual_dir=str(tmp_path / 'manual'), **options
        )
    )
