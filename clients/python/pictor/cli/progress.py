"""Progress on stderr while pictures are drawn: lines for what happened, a clock for what is awaited."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pictor.cli.text import expected, printable, span, told
from pictor.events import AttemptFailed, AttemptStarted, Event, Image

_BAR_CELLS = 20
_DONE, _TO_DO = "━", "─"


class Progress:
    """Tells of events as they come; a context manager, since a terminal's last line must be cleaned up."""

    def __init__(
        self, *, has_clock: bool, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Write to `stream` (stderr unless given); the clock line is only for terminals, and only if it is wanted."""
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._has_clock = has_clock and self._console.is_terminal
        self._clock = clock
        self._under_way: dict[tuple[str, int], tuple[float, AttemptStarted]] = {}
        self._live = Live(
            get_renderable=self.waiting,
            console=self._console,
            transient=True,
            refresh_per_second=4,
            redirect_stdout=False,  # stdout is data, and may be a file while stderr is a terminal
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        if self._has_clock:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, event: Event, path: Path | None, who: str = "") -> None:
        """Tell of one event; `who` names the item of a set, `path` is where its picture was saved."""
        match event:
            case AttemptStarted():
                self._under_way[who, event.output_index] = (self._clock(), event)
            case AttemptFailed():
                self._under_way.pop((who, event.output_index), None)
            case Image():
                self._under_way.pop((who, event.picture.message.output_index), None)
        text = told(event, path)
        if text is not None:
            self.say(text, who)

    def say(self, text: str, who: str = "") -> None:
        """Print one line."""
        self._console.print(Text(printable(f"{who}: {text}" if who else text)))

    def waiting(self) -> Text:
        """One line for each picture under way: a bar up to the time within which nine in ten are done, then words."""
        now, text = self._clock(), Text()
        for (who, index), (since, event) in list(self._under_way.items()):  # another thread draws
            done = min(_BAR_CELLS, int(_BAR_CELLS * (now - since) / max(event.expected_p90_s, 1.0)))
            text.append(printable(f"  {who or 'picture'} {index}: "))
            text.append(_DONE * done, style="cyan").append(_TO_DO * (_BAR_CELLS - done), style="dim")
            text.append(printable(f" {event.model}, {span(now - since)} so far, {expected(event)}\n"))
        text.rstrip()
        return text
