"""What a step of the demo promises, and whether it was kept."""

from dataclasses import dataclass

from pictord.demo.report import Step


@dataclass(frozen=True, slots=True)
class Promise:
    """What must come of a step: the row that chooses, and what is tried, each as `model outcome`."""

    row: str
    tried: tuple[str, ...]
    adaptations: tuple[str, ...] = ()
    previews: int = 0
    error: str = ""
    """The reason of a refusal; with it no picture may come, without it exactly one must."""

    def broken_by(self, step: Step) -> str:
        """The first thing that came otherwise, as a sentence; empty if the promise was kept."""
        compared = {
            "error": (self.error, step.error),
            "row": (self.row, step.row),
            "tried": (" -> ".join(self.tried), " -> ".join(step.tried)),
            "attempts": (len(self.tried), step.attempts),
            "model": (self.tried[-1].split()[0], step.model),
            "adaptations": (", ".join(self.adaptations), ", ".join(step.adaptations)),
            "pictures": (0 if self.error else 1, len(step.files)),
            "previews": (self.previews, len(step.previews)),
        }
        for name, (promised, came) in compared.items():
            if came != promised:
                return f"{name} should be {promised or 'none'}, came {came or 'none'}"
        return ""
