"""Whether two run directories hold the same run, whoever trained them."""

import json

import jax
import numpy as np

import averse


def rows(path):
    """The lines of a run's metrics, in order, but for the one figure that is measured by the clock."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "steps_per_second"} for line in lines]


def saved(path):
    return sorted(str(each.relative_to(path)) for each in (path / "checkpoints").glob("*/[0-9]*"))


def assert_same(path, other):
    """Two run directories hold the same run."""
    assert rows(path) == rows(other)
    assert saved(path) == saved(other)
    assert not (path / "parts").exists()
    runs = [averse.load(each) for each in (path, other)]
    assert runs[0].config == runs[1].config
    assert runs[0].updates == runs[1].updates
    states = [[numbers(leaf) for leaf in jax.tree.leaves(run.learner_states)] for run in runs]
    for one, two in zip(*states, strict=True):
        np.testing.assert_array_equal(one, two)


def numbers(leaf):
    """An array, of keys what they are made of."""
    return jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
