"""The constants of the task: the road, the cars, the clock, and the parameters that a user may choose.

Units: metres, seconds, m/s, m/s2. A *decision* is one environment step (0.5 s), made of five simulation steps (0.1 s).
"""

from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Le

from averse.environments.ranges import Cost
from averse.errors import AverseError
from averse.settings import Fraction, settings

# The road. A movement is 3 * arm + turn, in the order of SUMO's links.
ARMS = ("north", "east", "south", "west")  # where a car comes from; clockwise
TURNS = ("right", "straight", "left")
NUM_MOVEMENTS = 12
ARM_LENGTH = 150.0  # from the far end to the junction's centre; the lane itself ends 9.2 m before the centre
SPAWN_POSITION = 10.0  # where on its lane a departing car's front bumper is placed
EXIT_DISTANCE = 40.0  # a car has arrived when its front bumper is this far behind the junction at a decision's end

# The clock.
STEP_SECONDS = 0.1
STEPS_PER_DECISION = 5
DECISION_SECONDS = STEP_SECONDS * STEPS_PER_DECISION

# Cars.
MAX_SPEED = 13.89
CAR_LENGTH = 5.0
CAR_WIDTH = 1.8
ACCELERATIONS = (-4.5, -2.0, 0.0, 1.3, 2.6)  # what the five actions do
MANOEUVRES = ("yield", "ease", "go")  # what the three actions do where agents drive by manoeuvres; see `manoeuvres`
NO_OP = 2  # to keep the speed, or to go: the only action available to an agent that is not driving
SPAWN_SPEEDS = (8.0, 12.0)  # a departing car's speed is uniform in this range, unless the car ahead forces less
SPAWN_HEADWAY = 2.0  # least time between two departures of agents from the same arm
SPAWN_GAP = 4.0  # a departure waits until the road ahead of its place is free for this long

# Human drivers (SUMO's Krauss model; the compiled twin uses the same numbers).
HUMAN_ACCELERATION = 2.6
HUMAN_DECELERATION = 4.5
HUMAN_IMPERFECTION = 0.5  # sigma
HUMAN_REACTION = 1.0  # tau
HUMAN_MIN_GAP = 2.5
HUMAN_SPEED_DEVIATION = 0.1  # each human's desired speed is the limit times N(1, this), clipped to [0.7, 1.3]
HUMAN_APPROACH_SPEED = 11.0  # speed of the humans who are already on the road at the start
HUMAN_HISTORY = 10.0  # humans have been arriving for this long when an episode starts

# Measures.
HARD_BRAKING = 4.0  # a deceleration above this is hard braking
NEAR_GAP = 2.0  # a gap below this costs; queueing humans keep 2.5 m
NEAR_COST = 0.5  # the largest cost of a gap, at contact and full speed


class Status:
    """Where an agent is in its own episode."""

    WAITING = 0  # not departed yet
    DRIVING = 1
    ARRIVED = 2
    CRASHED = 3


class Scene(NamedTuple):
    """All cars at one moment, of a batch (`...`). C cars: first the N agents, then the places for humans."""

    movement: Any  # int32 [C, ...]
    position: Any  # float32 [C, ...], m of the front bumper along the movement's path, 0 at the far end of the arm
    speed: Any  # float32 [C, ...], m/s
    present: Any  # bool [C, ...], whether the car is on the road
    status: Any  # int32 [N, ...], `Status` of each agent
    elapsed: Any  # float32 [...], decisions since the start


METRICS = {
    "collision": "1 if any agent crashed in the episode",
    "collisions": "number of agents that crashed",
    "crashes_with_agents": "number of agents that crashed with another agent",
    "crashes_with_lawful": "number of agents that crashed with a human driver who gives way",
    "crashes_with_reckless": "number of agents that crashed with a human driver who ignores the right of way",
    "arrival": "fraction of the agents that arrived",
    "crossing_time": "mean time from departure to arrival of the agents that arrived (s; NaN if none did)",
    "near_miss": "smallest gap between the outlines of an agent's car and any other car (m; 0 at a crash, at most 10)",
    "impact_speed": "largest relative speed of a crash of an agent (m/s; NaN without a crash)",
    "hard_braking": f"time agents spent decelerating by more than {HARD_BRAKING:g} m/s2, summed over agents (s)",
}


@settings
class IntersectionTask:
    """Cars of learning agents and of humans cross a four-arm junction without signals."""

    num_agents: Annotated[int, Ge(1), Le(16)] = 4
    """Cars driven by agents."""
    control: Literal["manoeuvre", "acceleration"] = "manoeuvre"
    """What agents decide: to yield, ease or go, which keeps a safe distance to the car ahead and is carried out by the
    five accelerations; or these accelerations themselves, with nothing that keeps a car from driving into another."""
    human_rate: Annotated[float, Ge(0), Le(2)] = 0.2
    """Human drivers arriving per second, over all arms together; 0 for none."""
    reckless_fraction: Fraction = 0.2
    """Fraction of the human drivers who ignore the right of way."""
    max_humans: Annotated[int, Ge(0), Le(64)] = 8
    """Most human cars on the road at once; further arrivals wait outside."""
    departure_spread: Annotated[float, Ge(0), Le(10)] = 1.0
    """Agents depart at random within this many seconds times their number."""
    sensor_range: Annotated[float, Ge(1), Le(400)] = 60.0
    """How far an agent sees other cars (m)."""
    num_neighbours: Annotated[int, Ge(1), Le(16)] = 5
    """Other cars that an agent observes, the most pressing conflicts first."""
    observation_noise: Annotated[float, Ge(0), Le(100)] = 0.0
    """Standard deviation of the noise on other cars' seen position along their path (m) and, halved, speed (m/s)."""
    dropout: Fraction = 0.0
    """Probability that an agent does not see a given other car in a given decision."""
    progress_reward: Cost = 1.0
    """Reward for the whole way from departure to arrival, paid in proportion to the distance driven."""
    time_cost: Cost = 0.2
    """Cost of each second on the road."""
    arrival_bonus: Cost = 2.0
    """Reward for arriving, once."""
    crash_penalty: Cost = 10.0
    """Cost of crashing, once."""
    team: bool = False
    """Give every agent the mean reward of all; an agent's episode then ends with the last agent's."""
    horizon: Annotated[int, Ge(1), Le(10_000)] = 120
    """Decisions of 0.5 s after which an episode is cut."""

    def __post_init__(self) -> None:
        if self.human_rate > 0 and self.max_humans == 0:
            raise AverseError("max_humans must be at least 1 where human_rate is above 0")

    @property
    def num_actions(self) -> int:
        """What an agent chooses from: 3 manoeuvres or 5 accelerations."""
        return len(MANOEUVRES if self.control == "manoeuvre" else ACCELERATIONS)

    @property
    def num_humans(self) -> int:
        """Places for human cars, H."""
        return self.max_humans if self.human_rate > 0 else 0

    @property
    def num_cars(self) -> int:
        """Places for cars, C = N + H."""
        return self.num_agents + self.num_humans

    @property
    def noisy(self) -> bool:
        """Whether observations depend on random numbers."""
        return self.observation_noise > 0 or self.dropout > 0
