"""What the fork server imports once, so that every worker finds it ready. Without libsumo it is but the task."""

from contextlib import suppress

from averse.environments.sumo import simulation
from averse.errors import AverseError

with suppress(AverseError):  # the environment itself tells the user
    simulation.import_libsumo()
