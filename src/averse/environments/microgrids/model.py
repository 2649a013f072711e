"""The microgrids' exact joint model, from their local ones, in the forms that `averse.planning` solves."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array, kron

from averse.environments.microgrids.tables import LocalModel, System
from averse.errors import AverseError, unknown_name
from averse.planning import FactoredTeamGame, TeamGame

_FORMS = ("factored", "sparse", "dense")
_LIMIT = 16e9  # bytes, at the peak of building a game (measured: 18 per dense entry, 34 per possible move)


def team_game(system: System, form: str | None = None) -> FactoredTeamGame | TeamGame:
    """See `Microgrids.model`."""
    models, prices = system.models, 1 if system.price is None else len(system.price.power)
    form = ("factored" if system.price is None else "sparse") if form is None else form
    if form not in _FORMS:
        raise unknown_name("form", form, _FORMS)
    if form == "factored":
        if system.price is not None:
            raise AverseError(
                "microgrids: with a price, which multiplies what all of them sell, the game is not factored; "
                'use form="sparse" or form="dense"'
            )
        return FactoredTeamGame(
            [model.transition for model in models],
            [model.reward for model in models],
            [model.available for model in models],
        )
    states = float(prices) * np.prod([model.num_states for model in models], dtype=float)
    rows = states * np.prod([model.num_actions for model in models], dtype=float)
    possible = float(prices**2) * np.prod([np.count_nonzero(model.transition) for model in models], dtype=float)
    needed = 18 * rows * states if form == "dense" else 34 * possible + 55 * rows
    if needed > _LIMIT:
        raise AverseError(
            f"microgrids: the {form} form of {states:,.0f} joint states would take {1e-9 * needed:,.0f} GB; "
            + ('use form="factored", or fewer levels' if system.price is None else "use fewer levels")
        )
    reward, available, transition = joint_reward(models), joint_available(models), joint_transition(models)
    if system.price is not None:
        reward = np.concatenate([price * reward for price in system.price.power])
        available = [np.tile(mask, (prices, 1)) for mask in available]
        transition = csr_array(kron(csr_array(system.price.transition), transition, format="csr"))
    if form == "dense":
        return TeamGame(transition.toarray().reshape(*reward.shape, reward.shape[0]), reward, available)
    return TeamGame(transition, reward, available)


def joint_reward(models: Sequence[LocalModel]) -> np.ndarray:
    """The sum of the microgrids' rewards [S, n1, ..., nN]."""
    agents = len(models)
    total = np.zeros((1,) * (2 * agents))
    for agent, model in enumerate(models):
        axes = [k for k in range(2 * agents) if k not in (agent, agents + agent)]
        total = total + np.expand_dims(model.reward, axes)
    return total.reshape(-1, *[model.num_actions for model in models])


def joint_available(models: Sequence[LocalModel]) -> list[np.ndarray]:
    """Per microgrid which actions it may take in each joint state, bool [S, n]."""
    local = np.unravel_index(np.arange(np.prod([m.num_states for m in models])), [m.num_states for m in models])
    return [model.available[states] for model, states in zip(models, local)]


def joint_transition(models: Sequence[LocalModel]) -> csr_array:
    """Probabilities of the next joint state, sparse [S n1 ... nN, S], joint state slowest among the rows."""
    rows = csr_array(np.ones((1, 1)))
    for model in models:
        rows = csr_array(kron(rows, csr_array(model.transition.reshape(-1, model.num_states)), format="csr"))
    sizes = [size for model in models for size in (model.num_states, model.num_actions)]
    agents = len(models)
    order = np.arange(rows.shape[0]).reshape(sizes)
    return rows[order.transpose([*range(0, 2 * agents, 2), *range(1, 2 * agents, 2)]).ravel()]
