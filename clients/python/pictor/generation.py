"""What comes back: a generation and its pictures, thin around the contract's messages."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from pictor import enums
from pictor.amounts import usd
from pictor.picture_file import whole_file
from pictor.v1 import generation_pb2, image_pb2

EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


@dataclass(frozen=True, slots=True)
class Picture:
    """One finished picture."""

    message: image_pb2.Image
    """All that is known of it, without its bytes."""
    data: bytes | None
    """The encoded picture as the engine sent it; None if it was not fetched."""

    @property
    def id(self) -> str:
        """Names the picture for `download` and as input of later calls."""
        return self.message.id

    @property
    def extension(self) -> str:
        """What a file of it ends with, without a dot."""
        return EXTENSIONS.get(self.message.mime_type, "bin")

    def save(self, path: str | Path) -> Path:
        """Write the bytes to a file, whole or not at all; a name without an ending gets the one of the encoding.

        Returns:
            The file that was written.

        Raises:
            ValueError: The bytes were not fetched.
            OSError: The file cannot be written.
        """
        if self.data is None:
            raise ValueError(f"picture {self.id} was not fetched; use `download`")
        target = Path(path)
        if not target.suffix:
            target = target.with_suffix(f".{self.extension}")
        with whole_file(target) as file:
            file.write(self.data)
        return target


@dataclass(frozen=True, slots=True)
class Generation:
    """One request and its result."""

    message: generation_pb2.Generation
    """The generation as the gateway tells it, pictures without their bytes."""
    pictures: tuple[Picture, ...]
    """The pictures there are, in order of their outputs."""

    @classmethod
    def of(cls, message: generation_pb2.Generation) -> "Generation":
        """Take over a message and move the bytes of its pictures out of it."""
        pictures = []
        for output in message.outputs:
            if output.HasField("image"):
                data = output.image.data
                output.image.ClearField("data")
                pictures.append(Picture(output.image, data or None))
        return cls(message, tuple(pictures))

    @property
    def id(self) -> str:
        """Names the generation."""
        return self.message.id

    @property
    def state(self) -> str:
        """`pending`, `running`, `succeeded`, `failed` or `cancelled`."""
        return enums.word(generation_pb2.Generation.State.DESCRIPTOR, self.message.state)

    @property
    def picture(self) -> Picture:
        """The first picture.

        Raises:
            ValueError: There is none (yet).
        """
        if not self.pictures:
            raise ValueError(f"generation {self.id} is {self.state} and has no picture")
        return self.pictures[0]

    @property
    def row(self) -> str:
        """The row of the decision table that chose."""
        return self.message.decision.row

    @property
    def cost_usd(self) -> Decimal:
        """Everything it cost in US dollars, failed attempts included; `message.cost.basis` says how sure that is."""
        return usd(self.message.cost.amount)

    @property
    def adaptations(self) -> tuple[str, ...]:
        """What was delivered differently from what was asked, e.g. `quality_reduced`."""
        kind = generation_pb2.Adaptation.Kind.DESCRIPTOR
        return tuple(enums.word(kind, adaptation.kind) for adaptation in self.message.adaptations)

    @property
    def is_complete(self) -> bool:
        """Whether every picture that was asked for is there."""
        return len(self.pictures) == max(1, len(self.message.outputs))

    @property
    def is_sandbox(self) -> bool:
        """Whether a simulator drew it: no real engine, no real money."""
        return self.message.sandbox
