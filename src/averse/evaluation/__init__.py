"""From policies to honest figures: episodes played, their tails and intervals, the critic's calibration.

`averse.evaluate` does all of it for a run. The parts are for figures of one's own: traversals (`compiled_player`,
`play_host`), the table of episodes (`Episodes`), its figures (`summarise`, `summary_table`), and calibration. The
statistics of plain samples (`cvar`, bootstrap intervals, `Estimate`) are in `averse.statistics`.
"""

from averse.evaluation.accounts import Played, Probe
from averse.evaluation.basis import Basis
from averse.evaluation.calibration import Calibration, QuantileRow, calibrate_categorical, calibrate_quantiles
from averse.evaluation.episodes import Episodes, concatenate
from averse.evaluation.evaluator import Evaluation, evaluate, play_scripted
from averse.evaluation.host_play import Actor, Moment, learned, play_host, scripted
from averse.evaluation.long_run import Batches, LongRunEvaluation, LongRunSummary, summarise_long_run
from averse.evaluation.objective import TrainedObjective
from averse.evaluation.play import Chains, chain_player, compiled_player
from averse.evaluation.stored import read_evaluation
from averse.evaluation.summary import MetricSummary, Summary, summarise
from averse.evaluation.tables import summary_table

__all__ = [
    "Actor",
    "Basis",
    "Batches",
    "Calibration",
    "Chains",
    "Episodes",
    "Evaluation",
    "LongRunEvaluation",
    "LongRunSummary",
    "MetricSummary",
    "Moment",
    "Played",
    "Probe",
    "QuantileRow",
    "Summary",
    "TrainedObjective",
    "calibrate_categorical",
    "calibrate_quantiles",
    "chain_player",
    "compiled_player",
    "concatenate",
    "evaluate",
    "learned",
    "play_host",
    "play_scripted",
    "read_evaluation",
    "scripted",
    "summarise",
    "summarise_long_run",
    "summary_table",
]


def __dir__() -> list[str]:
    return __all__
