"""A table of the options that each mode reads; a mode refuses all others."""

import dataclasses

from drl_tf.cli.command_options import EDITED, MODES, SCORED, TO_OUTPUT_DIR, Command
from drl_tf.config import config as configuration
from drl_tf.config.data_options import Data
from drl_tf.distributed.cluster import Devices

_BEGIN = ('train', 'import_official')  # Modes that store the whole configuration.
_USE_A_RUN = (
    'sample',
    'compose',
    *EDITED,
    'interpolate',
    'evaluate',
    'likelihood',
    'score',
    'ood',
    'density',
    'long_run',
    'sweep_steps',
    'sweep_guidance',
    'sweep_chains',
    'tune_sampler',
    'export',
)
_EXTRACT_FEATURES = ('train', 'stats', *SCORED)
_READ_IMAGES = (  # compose and app do for an --expression with | (or).
    *_BEGIN,
    'compose',
    *EDITED,
    'prepare',
    'stats',
    'likelihood',
    'score',
    'ood',
    'long_run',
    'report',
    'app',
    *SCORED,
)
_ANNEAL = ('likelihood', 'density')
_SCORE = ('score', 'ood')
_CHANGE = (*EDITED, 'interpolate')
_DRAW = ('sample', 'compose', *_CHANGE, 'evaluate', 'sweep_guidance', 'report')
_MODELS = (*_BEGIN, 'ablate', *_USE_A_RUN)
# Options of the data that matter to models alone.
_DATA_OF_MODELS = {'flip', 'data_mean', 'data_std', 'exact_images'}
_ALWAYS = ('mode', 'workdir', 'dry_run', 'dry_run_devices', 'version', 'help', 'deterministic')

# Options that --mode=ablate sets itself, in each row of its table.
SET_BY_ROWS = (
    'schedule',
    'num_levels',
    'sigma_min',
    'sigma_max',
    'mcmc_steps',
    'objective',
    'energy_scale',
    'max_minutes',
    'evaluate_every',
)


def _of_the_configuration() -> dict[str, tuple[str, ...]]:
    """Returns {option of a `Config`: modes that read it}; `READ_BY` below replaces some entries.

    Every mode that uses a model reads the options that decide the model, or compares them with stored values.
    """
    read_by: dict[str, tuple[str, ...]] = {}
    for group in configuration.groups():
        everywhere = MODES if group.type is Data else _MODELS
        modes: dict[str, tuple[str, ...]] = {'never': everywhere, 'resume': (*_BEGIN, 'ablate')}
        for field in dataclasses.fields(group.type):
            read_by[field.name] = modes.get(field.metadata['changes'], ())
    return read_by


READ_BY: dict[str, tuple[str, ...]] = {
    **_of_the_configuration(),
    **dict.fromkeys(_DATA_OF_MODELS, _MODELS),
    'num_classes': (*_MODELS, 'stats'),
    **dict.fromkeys((*_ALWAYS, *(field.name for field in dataclasses.fields(Devices))), MODES),
    'official_checkpoint': ('import_official',),
    'official_weights': ('import_official',),
    'model': (*_USE_A_RUN, 'app'),
    'init_from': ('train',),
    'restart': ('train',),
    'weights': (*_USE_A_RUN, 'ablate', 'train'),
    'checkpoint_step': _USE_A_RUN,
    'best': _USE_A_RUN,
    'num_samples': ('sample', 'compose', 'density', 'report', *SCORED),
    'first_sample': ('sample', 'compose'),
    'output_dir': (*TO_OUTPUT_DIR, 'prepare'),
    'save_images': ('sample', 'compose', 'score'),
    'labels': ('sample', 'compose', *_CHANGE),
    'label_weights': ('compose',),
    'expression': ('compose',),
    'input': (*EDITED, 'score'),
    'resize': (*EDITED, 'score', 'ood'),
    'degraded': ('restore',),
    'num_inputs': EDITED,
    'num_results': EDITED,
    'mask': ('inpaint',),
    'degradation': ('restore',),
    'strength': ('edit',),
    'between': ('interpolate',),
    'num_frames': ('interpolate',),
    'edit_levels': ('inpaint', 'restore'),
    'edit_steps': ('inpaint', 'restore'),
    'edit_rounds': ('inpaint', 'restore'),
    'samples': ('evaluate',),
    'evaluation_seeds': ('evaluate',),
    'sweep_levels': ('sweep_chains',),
    'sweep_mcmc_steps': ('sweep_chains',),
    'sweep_correctors': ('sweep_chains',),
    'sampler': ('sample', 'evaluate'),
    'tune_minutes': ('tune_sampler',),
    'tune_settings': ('tune_sampler',),
    'tune_gradients': ('tune_sampler',),
    'ood': ('ood',),
    'background': ('ood',),
    'method': ('likelihood', 'inpaint', 'restore'),
    'num_chains': (*_ANNEAL, 'long_run'),
    'ais_steps': _ANNEAL,
    'hmc_leapfrog': (*_ANNEAL, 'long_run'),
    'chain_levels': ('long_run',),
    'chain_method': ('long_run',),
    'chain_burn_in': ('long_run',),
    'chain_steps': ('long_run',),
    'chain_minutes': ('long_run',),
    'split': ('stats',),
    'keep_features': ('stats',),
    'export_dir': ('export',),
    'max_samples': ('export',),
    'compare': ('report',),
    'port': ('app',),
    'data_dir': _READ_IMAGES,
    'manual_dir': _READ_IMAGES,
    'labels_file': _READ_IMAGES,
    'seed': (*_BEGIN, 'sample', 'compose', *_CHANGE, *_ANNEAL, 'ood', 'long_run', 'report', *SCORED),
    'precision': (*_BEGIN, 'sample', 'compose', 'edit', 'interpolate', *SCORED),
    'mcmc_steps': (*_BEGIN, *_DRAW, *_ANNEAL, 'export', 'ablate'),
    'step_scale': (*_BEGIN, *_DRAW, *_ANNEAL, 'export', 'ablate'),
    'sampling_steps': (*_BEGIN, *_DRAW, *_ANNEAL, 'export', 'ablate'),
    'langevin_rule': (*_BEGIN, *_DRAW, *_ANNEAL, 'export', 'ablate'),
    'corrector': (*_BEGIN, *_DRAW, *_ANNEAL, 'export', 'ablate', 'sweep_steps'),
    'corrector_step': (*_BEGIN, *_DRAW, *_ANNEAL, 'export', 'ablate', 'sweep_steps'),
    'noise_scale': (*_BEGIN, *_DRAW, *_ANNEAL, 'export', 'ablate', 'sweep_steps', 'sweep_chains'),
    'prior': (
        *_BEGIN,
        *(mode for mode in _DRAW if mode != 'edit'),
        'export',
        'ablate',
        'sweep_steps',
        'sweep_chains',
        'tune_sampler',
        *_ANNEAL,
    ),
    'proposal': (*_BEGIN, *_DRAW, *_ANNEAL, 'export', 'ablate', 'sweep_steps', 'sweep_chains'),
    'final_denoise': (*_BEGIN, *_DRAW, 'export', 'ablate', 'sweep_steps', 'sweep_chains', 'tune_sampler'),
    'guidance': (
        *_BEGIN,
        'sample',
        *_CHANGE,
        'evaluate',
        'long_run',
        'sweep_steps',
        'sweep_chains',
        'tune_sampler',
        'ablate',
        'report',
    ),
    'sampling_levels': (*_BEGIN, *_DRAW, 'likelihood', *_SCORE, 'export', 'ablate', 'sweep_steps'),
    'sample_batch_size': (
        *_BEGIN,
        *_DRAW,
        'likelihood',
        *_SCORE,
        'ablate',
        'sweep_steps',
        'sweep_chains',
        'tune_sampler',
    ),
    'extractor': (*_EXTRACT_FEATURES, 'inpaint', 'restore', 'ood', 'long_run', 'import_official'),
    'inception': (*_EXTRACT_FEATURES, 'inpaint', 'restore', 'ood', 'long_run', 'import_official'),
    'stats_file': (*_EXTRACT_FEATURES, 'import_official'),
    'num_real': (*_EXTRACT_FEATURES, 'likelihood', *_SCORE, 'long_run', 'import_official'),
    'evaluate_every': _BEGIN,
    'evaluate_samples': _BEGIN,
}
_READ_WITH_SAMPLES = {
    'samples',
    'extractor',
    'inception',
    'stats_file',
    'num_real',
    'data_dir',
    'manual_dir',
    'labels_file',
    *(field.name for field in dataclasses.fields(Data)),
} - _DATA_OF_MODELS


def readers(name: str, samples: str) -> tuple[str, ...]:
    """Returns the names of the modes, such as 'train', in which an option has an effect.

    Args:
      name: name of the option, without the dashes.
      samples: the value of --samples, files of images; '': not given. If it is given, 'evaluate' scores these
        files and reads no options about a run.
    """
    if not samples or name in _READ_WITH_SAMPLES or READ_BY[name] is MODES:
        return READ_BY[name]
    return tuple(mode for mode in READ_BY[name] if mode != 'evaluate')


def modes_of_a_run(command: Command) -> list[str]:
    """Returns the modes that need or begin a run: not 'stats' or 'prepare', nor 'evaluate' with --samples."""
    needs_none = {'stats', 'prepare'} | ({'evaluate'} if command.samples else set())
    return [mode for mode in command.mode if mode not in needs_none]
