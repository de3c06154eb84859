"""How long to wait before asking again after a lost connection, and when to give up."""

from collections.abc import Awaitable, Callable

from pictor.errors import PictorError

DELAYS_S = (0.1, 0.3, 1.0, 3.0, 5.0, 5.0, 5.0)
"""Longest wait before each try; a restart of the gateway fits in, a broken network does not go on for ever."""


class Reconnect:
    """Counts the tries of one call since it last brought something."""

    def __init__(
        self,
        sleep: Callable[[float], Awaitable[None]],
        jitter: Callable[[], float],
        on_lost: Callable[[PictorError], None],
    ) -> None:
        self._sleep = sleep
        self._jitter = jitter
        self._on_lost = on_lost
        self._tries = 0
        self.is_reached = False
        """Whether the gateway was there at some time; one that never was is not waited for."""

    def progress(self) -> None:
        """Something arrived: begin to count anew."""
        self._tries = 0
        self.is_reached = True

    async def wait(self, error: PictorError) -> None:
        """Wait until the next try is due; half of each delay is random, so that clients do not come back as one.

        Raises:
            PictorError: `error` itself, if it is no lost connection, nobody was ever there, or all tries are used up.
        """
        self.is_reached |= not error.is_absent
        if not (error.is_lost and self.is_reached):
            raise error
        await self.wait_again(error)

    async def wait_again(self, error: PictorError) -> None:
        """Wait likewise, whatever kind of error it is.

        Raises:
            PictorError: `error` itself, if all tries are used up.
        """
        if self._tries == len(DELAYS_S):
            raise error
        if self._tries == 0:
            self._on_lost(error)
        await self._sleep(DELAYS_S[self._tries] * (1 + self._jitter()) / 2)
        self._tries += 1
