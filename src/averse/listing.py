"""`averse list`: environments, methods and risk measures, a sentence each, and which method fits which environment."""

import json

from averse import environments, learners, risk
from averse.commands import Command, hanging
from averse.environments.protocol import Description, Discrete, is_average_reward
from averse.errors import AverseError
from averse.settings import settings

EVERYWHERE, DISCRETE, SEVERAL, ENDLESS, BUDGETED, NOWHERE = (
    "in every environment",
    "where actions are discrete",
    "where several agents meet",
    "where the environment never ends",
    "where the return so far is seen (budget:NAME)",
    "in none of the kinds of environments that were tried",
)

ELSEWHERE = {
    "gymnasium:ID": "A world of Gymnasium, in worker processes: gymnasium:CartPole-v1.",
    "pettingzoo:MODULE": "A world of PettingZoo, in worker processes: pettingzoo:mpe2.simple_spread_v3.",
    "gymnax:ID": "A world of gymnax, compiled: gymnax:CartPole-v1.",
    "jaxmarl:ID": "A world of JaxMARL, compiled: jaxmarl:MPE_simple_spread_v3.",
    "budget:NAME": "Any world with episodes, the return so far and the time left being seen: budget:corridor.",
}


@settings
class ListArguments:
    """What there is: environments, methods and risk measures, and which method fits which environment."""

    json: bool = False
    """Print JSON for machines."""


def run(arguments: ListArguments) -> None:
    """The command `averse list`."""
    kinds = {
        "environments": {name: environments.describe(name) for name in environments.names()},
        "methods": {name: learners.method(name).description for name in learners.names()},
        "measures": {name: risk.describe(name) for name in risk.names()},
    }
    facts = {name: facts_of(name) for name in kinds["environments"]}
    fits = {name: fits_where(name) for name in kinds["methods"]}
    if arguments.json:
        print(json.dumps({**kinds, "environment_facts": facts, "methods_learn": fits}, indent=2))
        return
    print(_section("environments", kinds["environments"], facts))
    print(_section("environments behind doors", ELSEWHERE))
    for where in (EVERYWHERE, DISCRETE, SEVERAL, ENDLESS, BUDGETED, NOWHERE):
        if members := {name: words for name, words in kinds["methods"].items() if fits[name] == where}:
            print(_section(f"methods that learn {where}", members))
    print(_section("measures", kinds["measures"]))


def facts_of(name: str) -> str:
    """What decides which method fits an environment, in words; empty where it cannot be built without parameters."""
    try:
        environment = environments.make(name)
    except AverseError:
        return ""
    agents, space = environment.num_agents, environment.action_space
    return ", ".join(
        [
            f"{agents} agent{'s' * (agents > 1)}",
            f"{space.num_actions} actions"
            if isinstance(space, Discrete)
            else f"{space.size} continuous action numbers",
            "never ends" if is_average_reward(environment) else f"at most {environment.horizon} steps",
        ]
    )


def fits_where(name: str) -> str:
    """In which environments a method learns, found by building its learner for each kind of them."""
    tried = {
        "episodes": environments.make("corridor"),
        "continuous": environments.make("risky-cartpole", continuous=True),
        "endless": environments.make("microgrids", scenario=1),
    }
    learns = {kind for kind, environment in tried.items() if _fits(name, environment)}
    if learns == set(tried):
        return EVERYWHERE
    if "episodes" in learns:
        return DISCRETE
    if _fits(name, environments.make("cliff-walk")):
        return SEVERAL
    if learns == {"endless"}:
        return ENDLESS
    return BUDGETED if _fits(name, environments.make("budget:corridor")) else NOWHERE


def _fits(name: str, environment: Description) -> bool:
    try:
        learners.learner(name, environment, **environments.suggested_settings(environment, name))
    except AverseError:
        return False
    return True


def _section(heading: str, members: dict[str, str], facts: dict[str, str] | None = None) -> str:
    """A heading and its names, with the words beside them in lines that fit the terminal."""
    width = max(map(len, members), default=0)
    lines = [f"{heading}:"]
    for name, words in members.items():
        told = f" ({facts[name]})" if facts and facts[name] else ""
        lines.append(hanging(f"  {name:{width}}  ", words + told))
    return "\n".join(lines) + "\n"


COMMAND = Command(ListArguments, run)
