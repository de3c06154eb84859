"""What a person should look at, once."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

BUDGET = "budget"
"""The kind of alert that a budget's threshold raises."""


class Delivery(StrEnum):
    """What became of an alert's message to the webhook."""

    NONE = "none"
    """No webhook is configured."""
    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `kind` is a fixed word; `subject` is a budget's id or a provider.

    No two alerts have one `occasion`: it says for what, and in which time, the next one would be the same again.
    """

    id: str
    occasion: str
    kind: str
    subject: str
    text: str
    create_time: datetime
    delivery: Delivery = Delivery.NONE
