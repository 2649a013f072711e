"""Nash equilibria do not depend on the scale and the shift of payoffs: against brute force in exact rationals."""

import numpy as np
import pytest

from averse.errors import AverseError
from averse.games import NormalForm, nash, security

from . import exact_nash

# von Stengel, New maximal numbers of equilibria in bimatrix games, Discrete & Computational Geometry 21 (1999).
STENGEL = np.array(
    [
        [9504, -660, 19976, -20526, 1776, -8976],
        [-111771, 31680, -130944, 168124, -8514, 52764],
        [397584, -113850, 451176, -586476, 29216, -178761],
        [171204, -45936, 208626, -263076, 14124, -84436],
        [1303104, -453420, 1227336, -1718376, 72336, -461736],
        [737154, -227040, 774576, -1039236, 48081, -300036],
    ]
)
SPAN = float(np.ptp(STENGEL))


@pytest.fixture(scope="module")
def all_75():
    # The column player's payoffs are the row player's with actions renamed.
    column = [
        [72336, 48081, 29216, 14124, 1776, -8514],
        [-461736, -300036, -178761, -84436, -8976, 52764],
        [1227336, 774576, 451176, 208626, 19976, -130944],
        [-1718376, -1039236, -586476, -263076, -20526, 168124],
        [1303104, 737154, 397584, 171204, 9504, -111771],
        [-453420, -227040, -113850, -45936, -660, 31680],
    ]
    found = exact_nash.equilibria(STENGEL, column)
    assert len(found) == 75
    return np.array(column), found


def test_the_game_of_von_stengel_at_every_scale(all_75):
    column, exact = all_75
    for scale in (1.0, 1e3, 1 / 3, 1e-8, 1e8, 1e-300, 1e300):
        found = nash(NormalForm([STENGEL * scale, column * scale]))
        assert exact_nash.supports(found) == exact_nash.supports(exact), scale
    for (x, y), (u, v) in zip(found, exact):
        np.testing.assert_allclose([*x, *y], np.array([*u, *v], dtype=float), rtol=1e-8)


def test_the_game_of_von_stengel_at_every_shift(all_75):
    column, exact = all_75
    for row_shift, column_shift in ((1e3, -1e3), (1e8, 1e8), (-1e6, 1e8)):
        found = nash(NormalForm([STENGEL + row_shift * SPAN, column + column_shift * SPAN]))
        assert exact_nash.supports(found) == exact_nash.supports(exact)
    # A constant for each action of the other changes nothing either.
    found = nash(NormalForm([STENGEL + SPAN * np.arange(6) ** 5, column * 1e5]))
    assert len(found) == 75


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1.0, 1e8])
@pytest.mark.parametrize("shift", [0.0, 1.0, -1e8, 1e8])
def test_random_games_against_exact_rationals(scale, shift):
    generator = np.random.default_rng(3)
    for _ in range(15):
        a, b = (generator.random((2, 3, 3)) + shift) * scale
        exact = exact_nash.equilibria(a, b)
        found = nash(NormalForm([a, b]))
        assert exact_nash.supports(found) == exact_nash.supports(exact)
        for x, y in found:
            nearest = min(max(abs(np.array([*x, *y]) - np.array([*u, *v], dtype=float))) for u, v in exact)
            assert nearest < 1e-9


def test_players_of_different_scales():
    generator = np.random.default_rng(8)
    for _ in range(10):
        a, b = generator.random((2, 3, 4))
        apart = NormalForm([1e8 * a - 5e7, 1e-8 * b + 1.0])
        exact = exact_nash.equilibria(*apart.arrays())
        assert (
            exact_nash.supports(nash(apart))
            == exact_nash.supports(exact)
            == exact_nash.supports(nash(NormalForm([a, b])))
        )


def test_stakes_of_different_sizes_are_not_merged():
    found = nash(NormalForm.symmetric(np.diag([1e10, 1.0])))
    assert [x[0] for x, _ in found] == [1.0, 0.0, pytest.approx(1e-10, rel=1e-12)]


def test_ties_up_to_rounding_are_ties():
    # Every pure pair of a game of nothing is an equilibrium; so it is where only rounding tells payoffs apart.
    for payoffs in ([[0.0, 0.0], [0.0, 0.0]], [[0.3, 0.1 + 0.2], [0.1 + 0.2, 0.3]], [[1e8 + 0.3, 1e8 + 0.1 + 0.2]] * 2):
        assert sum(max(*x, *y) == 1 == min(max(x), max(y)) for x, y in nash(NormalForm([payoffs, payoffs]))) == 4


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e9])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_security_at_every_scale_and_shift(scale, shift):
    pennies = np.array([[3.0, -1.0], [-2.0, 1.0]])
    strategies, values = security(NormalForm([scale * (pennies + shift), scale * (shift - pennies)]))
    np.testing.assert_allclose(strategies, [[3 / 7, 4 / 7], [2 / 7, 5 / 7]], atol=1e-8)
    np.testing.assert_allclose(values, [scale * (shift + 1 / 7), scale * (shift - 1 / 7)], rtol=1e-9)


@pytest.mark.parametrize("game", [None, "SC2", [[1, 2], [3, 4]], NormalForm.random(0, (2, 2), 3)])
def test_what_is_no_game(game):
    for solve in (nash, security):
        with pytest.raises(AverseError, match="game") as caught:
            solve(game)
        assert "\n" not in str(caught.value)
