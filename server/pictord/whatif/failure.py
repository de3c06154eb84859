"""Why a replay cannot be made."""


class ReplayError(ValueError):
    """A record, a workload, a policy or a file that cannot be used; its text is one sentence for people."""
