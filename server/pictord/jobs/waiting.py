"""Pictures that are paid for and cannot be stored yet: they lie in memory, and are served from there."""

from dataclasses import dataclass, field

from pictord.store.base import OwnedImage


@dataclass(frozen=True, slots=True)
class Waiting:
    """By their ids; each is its job's to add, and to remove once its record can be read."""

    _pictures: dict[str, tuple[OwnedImage, bytes]] = field(default_factory=dict)

    def add(self, owned: OwnedImage, data: bytes) -> None:
        """One more waits."""
        self._pictures[owned.image.id] = owned, data

    def remove(self, image_id: str) -> None:
        """It waits no more; unknown ones are ignored."""
        self._pictures.pop(image_id, None)

    def image(self, image_id: str) -> OwnedImage | None:
        """Whose it is, if it waits."""
        return self._pictures[image_id][0] if image_id in self._pictures else None

    def data(self, image_id: str) -> bytes | None:
        """Its bytes, if it waits."""
        return self._pictures[image_id][1] if image_id in self._pictures else None
