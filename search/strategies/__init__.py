"""Ways to choose what a round removes; all are judged by the same evaluators."""

from collections.abc import Mapping
from types import MappingProxyType

from search.round import Strategy
from search.strategies.evolution import EvolutionStrategy
from search.strategies.knapsack import Knapsack
from search.strategies.one_shot import OneShot
from search.strategies.random_search import RandomSearch
from search.strategies.samplers import Nsga2, Tpe

__all__ = ["STRATEGIES", "EvolutionStrategy"]

STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "evolution": EvolutionStrategy(),
        "random": RandomSearch(),
        "one_shot": OneShot(),
        "nsga2": Nsga2(),
        "tpe": Tpe(),
        "knapsack": Knapsack(),
    }
)
