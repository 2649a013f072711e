"""Who does the work of trials: this process (local), or workers of Ray on this machine or on a cluster."""

from averse.engines.arguments import Engine
from averse.engines.cluster import Cluster, opened, require

__all__ = ["Cluster", "Engine", "opened", "require"]
