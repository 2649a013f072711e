"""Recording an episode for an animation (`averse.report.animation`): the same traversal as evaluation, observed."""

from averse.arguments import instance
from averse.environments.intersection.recording import Recording
from averse.environments.sumo.environment import SumoIntersection
from averse.environments.sumo.recording import Film
from averse.evaluation.host_play import Actor, play_host
from averse.settings import check_value


def record(environment: SumoIntersection, actor: Actor, seed: int, title: str | None = None) -> Recording:
    """The episode of an actor on a seed, step for step as it would be evaluated.

    Args:
      actor: `learned(run.learner, greedy=False)(run.state(0))` or `scripted(driver)` (`averse.evaluation.host_play`).
      title: what the recording is called; the default says how the episode went.

    Raises AverseError for other kinds of arguments, and if the simulator broke off.
    """
    instance("environment", SumoIntersection, environment, "a SumoIntersection")
    check_value("title", str | None, title)
    with environment.vector(1, trace=True) as vector:
        film = Film(environment, vector)
        play_host(vector, actor, [seed], horizon=environment.horizon, gamma=1.0, observer=film)
        return film.recording(title)
