"""Suggests the option that was most likely meant by an unknown one."""

import difflib

from absl import flags

LONGEST_NAME = 100  # Characters of an unknown name that matter and are shown.
# Option -> names for it that people guess.
_GUESSED = {
    'train_steps': 'steps num_steps max_steps iterations epochs num_epochs',
    'learning_rate': 'lr',
    'batch_size': 'bs batch',
    'strategy': 'gpu gpus num_gpus device devices',
    'image_size': 'size resolution',
    'num_samples': 'n',
    'mcmc_steps': 'langevin_steps',
    'num_classes': 'classes',
    'labels': 'class',
    'precision': 'dtype fp16 bf16 mixed_precision',
    'workdir': 'logdir log_dir model_dir checkpoint resume',
    'dataset': 'data',
    'ema_decay': 'ema',
    'guidance': 'w guidance_scale',
}


def suggestion(name: str, values: flags.FlagValues) -> str:
    """Returns the end of the message about an unknown option: the option that was most likely meant.

    If no known option is similar, the end is ': see --help'.

    Args:
      name: the unknown option, without dashes.
      values: all flags of the program.

    Example:
      suggestion('lr', values)  # ', did you mean --learning_rate?'
    """
    plain = name.replace('-', '_').lower()[:LONGEST_NAME]
    guessed = [option for option, names in _GUESSED.items() if plain in names.split()]
    exact = [plain] if plain in values else []
    close = [*guessed, *exact, *difflib.get_close_matches(plain, list(values), n=1)]
    return f', did you mean --{close[0]}?' if close else ': see --help'
