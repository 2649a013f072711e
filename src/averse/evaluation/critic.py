"""The critic's predictions at the probed moments of evaluation episodes, against the returns that followed."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from averse.evaluation.accounts import Played
from averse.evaluation.calibration import Calibration, calibrate_categorical, calibrate_quantiles
from averse.risk import Categorical, Distribution
from averse.training.run import Run

TRUNCATION_WEIGHT = 0.05  # discount left when a return was cut, from which on it is not used for calibration


class _Predicted(NamedTuple):
    """What a critic said of the probed moments of a trial's episodes, and what followed."""

    distribution: Distribution  # [E, A]
    asked: np.ndarray  # bool [E, A]; the agent's episode was not over
    known: np.ndarray  # bool [E, A]; nor was its return cut short
    realised: np.ndarray  # [E, A]


def calibrated(run: Run, played: Mapping[int, Played]) -> tuple[Calibration | None, float | None]:
    """Predicted against realised discounted returns at the probed moments of all agents of some trials.

    And the fraction of these returns that is left out, as the time limit cut it short. Both are None where the critic
    predicts no distribution, the calibration also where every return was cut.
    """
    if run.learner.predict_returns is None:
        return None, None
    predict = jax.jit(run.learner.predict_returns)
    parts = []
    for index, each in played.items():
        seen = each.probe
        said = predict(run.state(index), seen.observations, seen.global_state, seen.available, memory=seen.memory)
        asked, known = usable(each)
        parts.append(_Predicted(jax.device_get(said), asked, known, seen.discounted_return))
    asked, known = (np.concatenate([part[k] for part in parts]) for k in (1, 2))
    left_out = 1.0 - known.sum() / asked.sum() if asked.any() else None
    if not known.any():
        return None, left_out
    returns = np.concatenate([part.realised for part in parts])[known]
    first = parts[0].distribution
    if isinstance(first, Categorical):
        probs = np.concatenate([part.distribution.probs for part in parts])[known]
        return calibrate_categorical(np.asarray(first.atoms), probs, returns), left_out
    return calibrate_quantiles(np.concatenate([part.distribution.values for part in parts])[known], returns), left_out


def usable(played: Played) -> tuple[np.ndarray, np.ndarray]:
    """Which returns the critic is asked for, and which of these are what it predicts, both bool [E, A].

    Asked: of agents whose episode was not over at the probed moment, in episodes that did not fail. A return that the
    time limit cut short is not what a critic predicts, unless next to nothing of its discount was left; that of an
    agent whose own episode had ended before the limit is complete.
    """
    asked = np.asarray(played.probe.active) & ~np.asarray(played.failed)[:, None]
    spent = np.asarray(played.probe.weight_left) < TRUNCATION_WEIGHT
    whole = np.asarray(played.terminated) | (~np.asarray(played.truncated) | spent)[:, None]
    return asked, asked & whole
