"""Fits to play, and the comparison with people."""

import numpy as np
import pytest

from averse.errors import AverseError
from averse.games import compare_with_people, fit, published


@pytest.mark.thorough
def test_fit_recovers_play_inside_the_region():
    game = published()["selten-chmura-2"]
    found = fit(game.game, game.observed)
    assert found.distance < 1e-3
    assert found.tractability.margin >= 0
    assert found.tractability.unique
    again = np.concatenate([x - y for x, y in zip(found.equilibrium.strategies, game.observed)])
    assert found.distance == pytest.approx(np.sqrt(np.mean(again**2)))


def test_fit_says_how_far_it_stays_from_impossible_play():
    game = published()["selten-chmura-2"]
    # Every 2x2 RQE of this game has Up below a half: Down is the better reply to every mix near observed play.
    found = fit(game.game, [[0.97, 0.03], [0.05, 0.95]])
    assert found.distance > 0.1
    assert found.tractability.margin >= 0


def test_pairs_without_a_region():
    game = published()["selten-chmura-2"]
    with pytest.raises(AverseError, match="no tractable region"):
        fit(game.game, game.observed, "kl", "entropy")


@pytest.mark.thorough
def test_models_against_people():
    models = {model.name: model for model in compare_with_people()}
    assert models["RQE, published"].distance < 0.01
    assert models["QRE, one epsilon per game"].distance < models["QRE, shared"].distance < models["Nash"].distance
    assert models["RQE, shared"].distance <= models["Nash"].distance
    nash = models["Nash"].predictions["selten-chmura-1"]
    assert nash == pytest.approx((1 / 11, 10 / 11))
