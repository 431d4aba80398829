"""Begins a run with weights of the authors' code."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from drl_tf.base.files import write_json
from drl_tf.distributed import chief
from drl_tf.runs import authors_checkpoint, authors_weights, checkpoint, workdirs
from drl_tf.training.optimizers import compiled_model

if TYPE_CHECKING:
    from drl_tf.config.config import Config


def import_official(config: Config, workdir: str, prefix: str, weights: str = 'model_ema') -> dict[str, str]:
    """Begins a run with weights from a checkpoint of the original code of diffusion recovery likelihood.

    The weights become both the raw and the averaged weights, at step 0, with a fresh optimizer.

    Args:
      config: the configuration. Its network must have the architecture of the one in the checkpoint;
        `authors_checkpoint.options` reads the options of the architecture from the checkpoint.
      workdir: a directory that holds no run.
      prefix: path of this checkpoint, with or without `.index`.
      weights: 'model_ema' (averaged weights) or 'model' (raw weights).

    Returns:
      Lines to print, {label: text}, about the imported network and the run.

    Raises:
      UserError: the workdir holds a run or is in use, or the checkpoint is damaged or holds another network.
    """
    model = compiled_model(config)
    iteration = authors_weights.load_weights(model.network, prefix, weights)
    model.ema_network.set_weights(model.network.get_weights())
    with chief.held(workdir):
        # Again, under the lock: another process may have begun a run meanwhile.
        workdirs.check_no_run(workdir, f'--official_checkpoint={prefix}')
        checkpoint.save(model, workdir)
        config.save(workdir)
        origin = {
            'official_checkpoint': os.path.abspath(prefix),
            'official_weights': weights,
            'iteration': iteration,
        }
        write_json(os.path.join(workdir, authors_checkpoint.ORIGIN), origin)
    data = config.data
    network = config.network
    imported = f'{weights} of {prefix}'
    if iteration is not None:
        imported += f', at iteration {iteration:,}'
    return {
        'imported': imported,
        'network': f'{model.network.count_params():,} weights for {data.image_size} px, '
        f'{data.image_channels} channels',
        'assumed': f'--act={network.act} --final_act={network.final_act} '
        f'--num_levels={config.diffusion.num_levels}',
        'run': f'{workdir}, at step 0 with a fresh optimizer; its dataset is {data.dataset}',
    }
