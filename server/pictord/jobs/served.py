"""What the doors stand on: the RPCs and the console ask the same objects."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from pictord.jobs.budgets import Budgets
from pictord.jobs.jobs import Jobs
from pictord.jobs.pictures import Pictures
from pictord.jobs.planning import Routing
from pictord.resilience.guard import Guards


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """What the configuration says of a provider that has credentials here.

    `backend` is the catalog's word for the API that serves it; `per_minute` pictures, None if no quota is set.
    """

    account: str
    base_url: str
    backend: str
    per_minute: float | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """What the doors stand on.

    `facts` are the configured providers by name; `now` is UTC and the clock of the event logs; `new_id` makes a unique
    id with the given prefix.
    """

    jobs: Jobs
    pictures: Pictures
    guards: Guards
    routing: Callable[[], Routing]
    facts: Callable[[], Mapping[str, ProviderFacts]]
    now: Callable[[], datetime]
    new_id: Callable[[str], str]
    budgets: Budgets
