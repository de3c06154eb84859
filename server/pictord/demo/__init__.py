"""The demo: both engines, simulated, through the real gateway, in under a minute."""
