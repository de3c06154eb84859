"""A set's stream as typed events: steps of several generations, each with the item it belongs to."""

from collections.abc import Iterator
from dataclasses import dataclass

from pictor.events import Assembler, Event
from pictor.v1 import image_service_pb2


@dataclass(frozen=True, slots=True)
class SetEvent:
    """One step of a set."""

    raw: image_service_pb2.GenerateSetResponse
    """As the gateway sent it."""

    @property
    def item_key(self) -> str:
        """The item this is about; empty for the set as a whole."""
        return self.raw.item_key

    @property
    def model(self) -> str:
        """The model asked for this item; empty if the router decides."""
        return self.raw.model

    @property
    def generation_id(self) -> str:
        """The generation this is about; empty before it exists."""
        return self.raw.generation_id


@dataclass(frozen=True, slots=True)
class SetAccepted(SetEvent):
    """The set exists; `raw.set_accepted` holds its id, size and worst-case cost."""

    @property
    def set_id(self) -> str:
        """Names the set."""
        return self.raw.set_accepted.set_id


@dataclass(frozen=True, slots=True)
class SetStep(SetEvent):
    """A step of one item's generation."""

    event: Event


@dataclass(frozen=True, slots=True)
class SetItemFailed(SetEvent):
    """An item brought no picture; the others go on."""

    @property
    def reason(self) -> str:
        """A name of ErrorReason without prefix."""
        return self.raw.item_failed.reason

    @property
    def text(self) -> str:
        """The same for people."""
        return self.raw.item_failed.text


@dataclass(frozen=True, slots=True)
class SetSummary(SetEvent):
    """The end: `raw.summary` holds counts, cost and the generations."""


class SetAssembler:
    """Turns a set's messages into events; every generation has an assembler of its own."""

    def __init__(self) -> None:
        self._generations: dict[str, Assembler] = {}

    def feed(self, message: image_service_pb2.GenerateSetResponse) -> Iterator[SetEvent]:
        """Take one message; yield the events that are whole with it.

        Raises:
            PictorError: DATA_LOSS, the bytes of a picture do not fit together.
        """
        match message.WhichOneof("step"):
            case "set_accepted":
                yield SetAccepted(message)
            case "item_failed":
                yield SetItemFailed(message)
            case "summary":
                yield SetSummary(message)
            case "event":
                assembler = self._generations.setdefault(message.generation_id, Assembler())
                for event in assembler.feed(message.event):
                    yield SetStep(self._labelled(message, event), event)

    def _labelled(
        self, message: image_service_pb2.GenerateSetResponse, event: Event
    ) -> image_service_pb2.GenerateSetResponse:
        """The response that carried the event's entry of the log, not the one with its last chunk."""
        return image_service_pb2.GenerateSetResponse(
            item_key=message.item_key, model=message.model, generation_id=message.generation_id, event=event.raw
        )
