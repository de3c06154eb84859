"""The sandbox: both paid providers, simulated over HTTP, for the demo, the tests and every load test.

    async with run(SandboxSettings(time_scale=0)) as sandbox:
        client = AsyncOpenAI(api_key="any", base_url=sandbox.openai_base_url, max_retries=0)

It imports nothing of the service and has its own price and token tables: it is the oracle that the service's
accounting is checked against.
"""

from pictord.sandbox.app import run, serve_forever
from pictord.sandbox.faults import FaultRule, UnknownFault, check_header
from pictord.sandbox.journal import Charge, RequestRecord
from pictord.sandbox.sandbox import Sandbox
from pictord.sandbox.settings import Quota, SandboxSettings
from pictord.sandbox.tables import Model

__all__ = [
    "Charge",
    "FaultRule",
    "Model",
    "Quota",
    "RequestRecord",
    "Sandbox",
    "SandboxSettings",
    "UnknownFault",
    "check_header",
    "run",
    "serve_forever",
]
