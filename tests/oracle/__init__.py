"""The money oracle: whatever happens, the gateway's account agrees with the engines' own charge log.

The charge log is the sandbox's, with its own prices and token tables. `python -m oracle` runs it for long.
"""
