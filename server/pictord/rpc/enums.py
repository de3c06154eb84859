"""The contract's enums and the domain's words, value by value; both sides are named alike."""

from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from pictor.v1 import catalog_service_pb2, generation_pb2, history_service_pb2, image_pb2, usage_service_pb2
from pictord.domain.alert import Delivery
from pictord.domain.budget import Counted, Window
from pictord.domain.events import PreviewKind
from pictord.domain.generation import State
from pictord.domain.money import CostBasis
from pictord.domain.plan import AdaptationKind
from pictord.domain.rating import Thumb
from pictord.domain.request import (
    Background,
    Fidelity,
    OnDisconnect,
    OutputFormat,
    Quality,
    Resolution,
    Tier,
    Workflow,
)
from pictord.domain.usage import Group
from pictord.resilience.breaker import BreakerState

D = TypeVar("D", bound=StrEnum)
N = TypeVar("N", bound=int)


class _Wrapper(Protocol[N]):
    """What protobuf makes of an enum."""

    def Value(self, name: str) -> N:  # noqa: N802 - protobuf's name
        """The number of a value."""
        ...

    def values(self) -> list[N]:
        """All numbers."""
        ...


class EnumMap(Generic[D, N]):
    """Translates one enum both ways; UNSPECIFIED is None."""

    def __init__(self, wrapper: _Wrapper[N], prefix: str, domain: type[D]) -> None:
        self.wrapper = wrapper
        self.prefix = prefix
        self.domain = domain
        self._unspecified = wrapper.Value(f"{prefix}_UNSPECIFIED")
        self._numbers = {member: wrapper.Value(f"{prefix}_{member.value.upper()}") for member in domain}
        self._members = {int(number): member for member, number in self._numbers.items()}

    def to_proto(self, member: D | None) -> N:
        """The number of a domain value; UNSPECIFIED for None."""
        return self._unspecified if member is None else self._numbers[member]

    def from_proto(self, number: int) -> D | None:
        """The domain value of a number; None for UNSPECIFIED.

        Raises:
            ValueError: a number that the contract does not know (proto3 enums are open).
        """
        if number == self._unspecified:
            return None
        if number not in self._members:
            names = ", ".join(f"{self.prefix}_{member.value.upper()}" for member in self.domain)
            raise ValueError(f"{number} is not known; there are {names}")
        return self._members[number]


TIER = EnumMap(image_pb2.Tier, "TIER", Tier)
WORKFLOW = EnumMap(image_pb2.Workflow, "WORKFLOW", Workflow)
RESOLUTION = EnumMap(image_pb2.Resolution, "RESOLUTION", Resolution)
QUALITY = EnumMap(image_pb2.Quality, "QUALITY", Quality)
OUTPUT_FORMAT = EnumMap(image_pb2.OutputFormat, "OUTPUT_FORMAT", OutputFormat)
BACKGROUND = EnumMap(image_pb2.Background, "BACKGROUND", Background)
FIDELITY = EnumMap(image_pb2.Fidelity, "FIDELITY", Fidelity)
ON_DISCONNECT = EnumMap(image_pb2.OnDisconnect, "ON_DISCONNECT", OnDisconnect)
COST_BASIS = EnumMap(image_pb2.CostBasis, "COST_BASIS", CostBasis)
THUMB = EnumMap(history_service_pb2.Thumb, "THUMB", Thumb)
STATE = EnumMap(generation_pb2.Generation.State, "STATE", State)
ADAPTATION_KIND = EnumMap(generation_pb2.Adaptation.Kind, "KIND", AdaptationKind)
PREVIEW_KIND = EnumMap(generation_pb2.Preview.Kind, "KIND", PreviewKind)
BREAKER_STATE = EnumMap(catalog_service_pb2.Breaker.State, "STATE", BreakerState)
COUNTED = EnumMap(usage_service_pb2.Budget.Counted, "COUNTED", Counted)
WINDOW = EnumMap(usage_service_pb2.Budget.Window, "WINDOW", Window)
USAGE_GROUP = EnumMap(usage_service_pb2.UsageGroup, "USAGE_GROUP", Group)
DELIVERY = EnumMap(usage_service_pb2.Alert.Delivery, "DELIVERY", Delivery)
