"""Who does the work of trials: this process (local), or workers of Ray on this machine or on a cluster.

Or this process beside simulators in actors of Ray."""

from averse.engines.arguments import Engine
from averse.engines.cluster import Cluster, opened, require, require_simulators

__all__ = ["Cluster", "Engine", "opened", "require", "require_simulators"]
