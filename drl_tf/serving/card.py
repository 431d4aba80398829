"""Writes the model card of an exported model: its data, training, scores, limits and use."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from drl_tf.base.files import written_aside
from drl_tf.config.data_options import LOCAL_PATHS
from drl_tf.config.option_fields import text
from drl_tf.core.weights import Weights
from drl_tf.data import dataset_table
from drl_tf.runs import beginnings, exported
from drl_tf.serving import card_scores

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.energy_model import EnergyModel

_CHAINS = {'langevin': 'Langevin steps', 'mala': 'MALA steps', 'hmc': 'HMC transitions'}


def write_flags(path: str, config: Config) -> None:
    """Writes the options of a run to a flagfile, with which the training can be repeated.

    The file leaves out the options of scoring (`config.evaluation`), and the local paths of the data.

    Args:
      path: the file.
      config: the configuration of the run.
    """
    lines = [f'# All options of the run. Command: python run.py --flagfile={os.path.basename(path)}']
    scoring = {field.name for field in dataclasses.fields(config.evaluation)}
    for field, value in config.options():
        if field.name in scoring or field.name in LOCAL_PATHS:
            continue
        if isinstance(value, bool):
            lines.append(f'--{"" if value else "no"}{field.name}')
        else:
            lines.append(f'--{field.name}={text(value)}')
    with written_aside(path) as file:
        file.write('\n'.join(lines) + '\n')


def write(
    path: str,
    final: str,
    model: EnergyModel,
    config: Config,
    step: int,
    max_samples: int,
    weights: Weights,
    known: Mapping[str, Any],
) -> None:
    """Writes the model card of an exported model, as Markdown.

    Args:
      path: the file to write.
      final: the version directory that the card names. `path` may lie in a temporary directory, which the
        caller renames to `final` afterwards.
      model: the exported model.
      config: the configuration of the run that trained the model.
      step: number of steps for which the model was trained.
      max_samples: the largest number of images that one request to the exported model may ask for.
      weights: the weights that are exported, 'ema' (averages) or 'raw'.
      known: how the model was trained and scored, with entries such as 'seconds' (of training) and
        'evaluations'; the dict comes from `provenance.history`.
    """
    flags = os.path.join(final, 'train.flags')
    sections = [
        f'# {exported.name_of(final)}, version {os.path.basename(final)}',
        *body(model, config, step, weights, known, flags, max_samples),
        *section('Use', _use(final)),
    ]
    with written_aside(path) as file:
        file.write('\n\n'.join(sections) + '\n')


def body(
    model: EnergyModel,
    config: Config,
    step: int,
    weights: Weights,
    known: Mapping[str, Any],
    flags: str,
    max_samples: int = 0,
) -> list[str]:
    """Returns the paragraphs of a model card, without its title and its section on use, as Markdown.

    Args:
      model: the exported model.
      config: the configuration of the run that trained the model.
      step: number of steps for which the model was trained.
      weights: the weights that are exported, 'ema' (averages) or 'raw'.
      known: how the model was trained and scored, with entries such as 'seconds' (of training) and
        'evaluations'; the dict comes from `provenance.history`.
      flags: path of the flagfile with the options of the run, as the card shows it.
      max_samples: the largest number of images that one request to the exported model may ask for; 0: the
        card does not mention it.
    """
    return [
        summary(config),
        *section('Data', _data(config, known)),
        *section('Training', _training(model, config, step, weights, known, flags)),
        *section('Scores', card_scores.lines(known, model.config)),
        *section('Limits', _limits(model.config.portable(), max_samples, known)),
    ]


def section(title: str, lines: Sequence[str]) -> tuple[str, str]:
    """Returns a section of a model card as a pair of Markdown texts: its heading and its body.

    Args:
      title: the title, without '##'.
      lines: the lines of the body.
    """
    return f'## {title}', '\n'.join(lines)


def summary(config: Config) -> str:
    """Describes a model in one sentence: its data, its classes and how it was trained."""
    data = config.data
    what = 'points of the plane'
    if not config.planar:
        height, width, channels = data.image_shape
        what = f'{width} x {height} pixels, {channels} channel(s)'
        if data.num_classes:
            what += f', conditional on {data.num_classes} classes'
    return f'An energy-based model of `{data.dataset}`, {what}, {_method(config)}.'


def _method(config: Config) -> str:
    """Tells how a model was trained, for its summary."""
    if is_exact(config):
        return f'not trained: {_held(config)}, which define its log density'
    recovery = 'diffusion recovery likelihood'
    options = config.training
    if options.objective == 'dsm':
        return 'by denoising score matching of its conditionals'
    if options.objective == 'contrastive':
        return f'by cooperative {recovery}' if config.diffusion.initializer else f'by {recovery}'
    found = 'by score matching of normalised energies at all noise levels'
    if options.levels == 'walk':
        found = 'by score matching at the noise levels that sampling visits'
    return f'{found}, with {recovery}' if options.contrastive else found


def is_exact(config: Config) -> bool:
    """Returns whether a model holds training images in place of trained weights (--energy=exact)."""
    return config.network.energy == 'exact'


def _held(config: Config) -> str:
    return f'the file holds {config.data.exact_images:,} training images themselves'


def _data(config: Config, known: Mapping[str, Any]) -> list[str]:
    spec = dataset_table.find_spec(config.data.dataset)
    terms = '' if config.planar else ' The weights were trained on them: their terms may bind you too.'
    if is_exact(config):
        terms = f' {_held(config).capitalize()}: their terms bind whoever shares it.'
    lines = [
        f'- What: {spec.note or config.data.dataset}; the training split '
        f'(`--dataset={config.data.dataset}`, docs/datasets.md).',
        f'- Licence of the data: {spec.licence or "unknown"}.{terms}',
        f'- Licence of the weights: {_licence(config, known)}',
    ]
    if known['origin']:
        lines.append(
            "- The authors' checkpoint does not say what it was trained on; the dataset above was given, or "
            'assumed, at the import.'
        )
    if known['fitted_steps']:
        lines.append('- `EnergyModel.fit` trained it on further images, which are not known here.')
    return lines


def _licence(config: Config, known: Mapping[str, Any]) -> str:
    """Returns the licence of the weights: ours, that of images that they hold, or that of an import."""
    if is_exact(config):
        return 'that of the data, which they are.'
    if beginnings.imported(known):
        return 'that of the imported checkpoint, which does not say it.'
    return 'Apache-2.0, as the program, unless whoever trained them says otherwise here.'


def _training(
    model: EnergyModel, config: Config, step: int, weights: Weights, known: Mapping[str, Any], flags: str
) -> list[str]:
    parameters = ' and '.join(f'{raw.count_params():,} ({raw.name})' for _, raw in model.averages)
    return [
        *_begun(known['origin']),
        *_started(known['start']),
        f'- Recipe: {config.diffusion.recipe}; T = {config.diffusion.num_levels} levels, '
        f'K = {text(config.diffusion.mcmc_steps)}.',
        f'- Parameters: {parameters}.',
        *_steps(config, step, weights, known, flags),
    ]


def _steps(config: Config, step: int, weights: Weights, known: Mapping[str, Any], flags: str) -> list[str]:
    """Returns the lines on training steps: all steps, steps since the import, or steps of `fit`."""
    options = config.training
    fitted = known['fitted_steps']
    if is_exact(config):
        return [f'- Not trained: {_held(config)}. `{flags}` holds every option.']
    used = Weights(weights).of(f'averaged, decay {options.ema_decay}', 'raw')
    if fitted:
        return [
            f'- Weights: {used}, of step {step:,}; `EnergyModel.fit` took the last {fitted:,} steps in '
            'Python, on images that it was given.',
            f'- Options: `{flags}` holds those of the run before; they do not reproduce this model.',
        ]
    if known['origin'] and not step:
        return ['- Weights: as imported; not trained since.']
    source = f'- Command: `python run.py --flagfile={flags}`, which holds every option.'
    since = ''
    if known['origin'] or known['start']:
        since = ' since the import' if known['origin'] else ' since then'
        source = f'- Options: `{flags}` holds those of the training{since}; they do not reproduce this model.'
    time = f'{known["seconds"] / 60:,.1f} minutes' if known['seconds'] else 'unknown'
    return [
        f'- Weights: {used}, of step {step:,} of {options.train_steps:,}; batches of {options.batch_size}; '
        f'seed {options.seed}.',
        source,
        f'- Time in training{since}: {time}, on {known["device"] or "an unknown device"}.',
    ]


def _begun(origin: Mapping[str, Any]) -> list[str]:
    """Returns the lines on an imported network; none for other runs."""
    if not origin:
        return []
    iteration = origin.get('iteration')
    trained = f'{iteration:,} iterations' if isinstance(iteration, int) else 'an unknown number of iterations'
    which = f'`{origin.get("official_weights")}` of `{origin.get("official_checkpoint")}`'
    return [f"- Begun with {which}, which the authors' code trained for {trained}; steps count from there."]


def _started(start: Mapping[str, Any]) -> list[str]:
    """Returns the line on the model that --init_from named; none for runs that began with new weights."""
    if not start:
        return []
    which = Weights(start['weights']).of('averaged', 'raw')
    return [
        f'- Begun with the {which} weights of `{start["init_from"]}` at step {start["step"]:,} (recipe '
        f'{start["recipe"]}, dataset `{start["dataset"]}`); steps count from there.'
    ]


def _limits(config: Config, max_samples: int, known: Mapping[str, Any]) -> list[str]:
    most = f'A request holds at most {max_samples:,} images. ' if max_samples else ''
    size = '' if config.planar else f' at {config.data.image_size} pixels'
    former = known['start'].get('dataset', config.data.dataset)
    more = f', `{former}` before' if former != config.data.dataset else ''
    more += ' and the images of `EnergyModel.fit`' if known['fitted_steps'] else ''
    what, rounding = ('points', 'rounding') if config.planar else ('images', 'a grey level of rounding')
    held = ['- Its samples are those images again, up to a little noise.'] if is_exact(config) else []
    return [
        f'- It has only seen `{config.data.dataset}`{size}{more}. It gives an energy for anything of that '
        f'shape: for other {what} this is an extrapolation.',
        *held,
        f'- Samples are those of {_chains(config)}, not of the exact density.',
        '- Energies are -F in nats up to a constant of each level: compare them only within a level.',
        f'- {most}Image i depends on (seed, i), up to {rounding}.',
    ]


def _chains(config: Config) -> str:
    diffusion = config.diffusion
    if any(config.sampling_steps_by_level):
        steps = config.sampling.sampling_steps or diffusion.mcmc_steps
        return f'chains of K = {text(steps)} {_CHAINS[config.corrector]}, which do not mix'
    if diffusion.proposal == 'tweedie':
        return 'the proposals of its own energies, level by level'
    return 'normal approximations, level by level'


def _use(final: str) -> list[str]:
    name = exported.name_of(final)
    return [
        f'    python run.py --mode=sample --model={final}',
        '',
        f'As a SavedModel: TensorFlow Serving takes `{name}/` as it is; docs/serving.md describes the '
        'signatures.',
    ]
