"""The moments between which a sudden death differs: what is held, sent, paid for or kept changes at each of them.

Nothing happens there. A test ends the process at one of them and looks at what the next one makes of it.
"""

from enum import StrEnum


class CrashPoint(StrEnum):
    """Named moments of a generation, in their order (design, section 5)."""

    AFTER_OPEN = "after_open"
    """Plan, intents and holds are recorded; nothing runs yet."""
    BEFORE_MARK_SENT = "before_mark_sent"
    """The guard lets the attempt through."""
    AFTER_MARK_SENT = "after_mark_sent"
    """It is recorded as sent; no byte has left."""
    AFTER_FIRST_BYTE_SENT = "after_first_byte_sent"
    """It may be paid for."""
    AFTER_RESPONSE = "after_response"
    """A verified picture is in memory, and nowhere else."""
    BEFORE_ASSET_PUT = "before_asset_put"
    """It is noted as arrived."""
    AFTER_ASSET_PUT = "after_asset_put"
    """It lies in the picture store; its attempt is not settled."""
    AFTER_FINISH = "after_finish"
    """The generation's end is recorded; nobody was told."""
