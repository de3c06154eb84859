"""The benchmark: what the gateway costs beside the bare SDKs, in one run on the machine at hand.

Every contestant is a process of its own. The one under test has core 0 to itself; the upstream (the sandbox's fast
mode), the load client and the telemetry sink share core 1. Contestants take turns within a round, so that a noisy
minute hits all of them, and every figure is the median of the rounds: trust the ratios, and none closer than 20 %.

    __main__ → rounds → loads → contestants → (child processes: upstream, sink, echo, gateway, sdk_caller, client)
    measurements → bars (the table) → report
"""
