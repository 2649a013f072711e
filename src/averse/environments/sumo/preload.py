"""What the fork server imports once, so that every worker finds it ready. Without libsumo it is but the task."""

from averse.environments.sumo import simulation
from averse.errors import AverseError

try:
    simulation.import_libsumo()
except AverseError:
    pass  # the environment itself tells the user
