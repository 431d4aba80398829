"""The authors' checkpoint, with numbers that their code computes from it, and the measure of agreement."""

import numpy as np

from helpers.tiny import ROOT

FIXTURE = ROOT / 'tests' / 'core' / 'parity_t6_ch8'


def relative_error(value, reference):
    return np.linalg.norm(np.asarray(value) - reference) / np.linalg.norm(reference)
