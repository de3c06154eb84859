"""A set's stream as typed events: steps of several generations, each with the item it belongs to."""

from collections.abc import Iterator
from dataclasses import dataclass

from pictor.events import Assembler, Event
from pictor.v1 import image_service_pb2

_CANCELLED = "CANCELLED"


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
    """Turns a set's messages into events; every generation has an assembler of its own.

    Steps that come again, because the set was asked for again, are dropped.
    """

    def __init__(self) -> None:
        self.set_id = ""
        self.is_over = False
        """Whether the summary came."""
        self.is_withdrawn = False
        """Whether a member was cancelled because we seemed to have left; neither that nor the summary was told."""
        self._withdraws = False
        self._generations: dict[str, Assembler] = {}
        self._failures: set[tuple[str, str, str]] = set()

    @property
    def generation_ids(self) -> set[str]:
        """The generations that were heard of."""
        return set(self._generations)

    def interrupt(self, *, withdraws: bool) -> None:
        """All of it will come again; `withdraws` says whether members may meanwhile be cancelled for our absence."""
        for assembler in self._generations.values():
            assembler.interrupt()
        self.is_over = self.is_withdrawn = False
        self._withdraws = withdraws

    def feed(self, message: image_service_pb2.GenerateSetResponse) -> Iterator[SetEvent]:
        """Take one message; yield the events that are whole with it.

        Raises:
            PictorError: DATA_LOSS, the bytes of a picture do not fit together.
        """
        match message.WhichOneof("step"):
            case "set_accepted":
                yield from self._accepted(message)
            case "item_failed":
                yield from self._failed(message)
            case "summary":
                self.is_over = True
                if not self.is_withdrawn:
                    yield SetSummary(message)
            case "event" if message.generation_id:  # a heartbeat is of none
                assembler = self._generations.setdefault(message.generation_id, Assembler())
                if not assembler.is_completed:
                    for event in assembler.feed(message.event):
                        yield SetStep(self._labelled(message, event), event)

    def _accepted(self, message: image_service_pb2.GenerateSetResponse) -> Iterator[SetEvent]:
        if not self.set_id:
            self.set_id = message.set_accepted.set_id
            yield SetAccepted(message)

    def _failed(self, message: image_service_pb2.GenerateSetResponse) -> Iterator[SetEvent]:
        reason = message.item_failed.reason
        if self._withdraws and reason == _CANCELLED:
            self.is_withdrawn = True
        elif (failure := (message.item_key, message.model, reason)) not in self._failures:
            self._failures.add(failure)
            yield SetItemFailed(message)

    def _labelled(
        self, message: image_service_pb2.GenerateSetResponse, event: Event
    ) -> image_service_pb2.GenerateSetResponse:
        """The response that carried the event's entry of the log, not the one with its last chunk."""
        return image_service_pb2.GenerateSetResponse(
            item_key=message.item_key, model=message.model, generation_id=message.generation_id, event=event.raw
        )
