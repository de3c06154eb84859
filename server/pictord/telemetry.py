"""Names of everything that leaves in telemetry: spans, attributes, metrics, buckets. Only names; no SDK.

The RPC names are those of the semantic conventions 1.44 (release candidate):
https://github.com/open-telemetry/semantic-conventions/tree/384d661/docs/rpc, read 2026-11-22. The GenAI names are still
in development and live in a repository of their own, so the Python package's constants are out of date:
https://github.com/open-telemetry/semantic-conventions-genai/tree/024a4f9/docs/gen-ai, read 2026-11-22. No image
operation is defined there: `generate_content` with output type `image` is the nearest. Names under `pictor.` are ours.

Prompts and pictures never leave in telemetry.
"""

# --- RPC server span and metric (docs/rpc/rpc-spans.md, rpc-metrics.md)
RPC_SYSTEM_NAME = "rpc.system.name"
RPC_SYSTEM_GRPC = "grpc"
RPC_METHOD = "rpc.method"
"""Full name: `pictor.v1.ImageService/Generate`."""
RPC_STATUS_CODE = "rpc.status_code"
"""The code's name: `OK`, `DEADLINE_EXCEEDED`."""
RPC_SERVER_CALL_DURATION = "rpc.server.call.duration"
ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"

# --- One call to an engine (docs/gen-ai/gen-ai-spans.md)
GEN_AI_OPERATION_NAME = "gen_ai.operation.name"
GEN_AI_OPERATION_GENERATE_CONTENT = "generate_content"
GEN_AI_PROVIDER_NAME = "gen_ai.provider.name"
GEN_AI_OUTPUT_TYPE = "gen_ai.output.type"
GEN_AI_OUTPUT_TYPE_IMAGE = "image"
GEN_AI_REQUEST_MODEL = "gen_ai.request.model"
GEN_AI_REQUEST_SEED = "gen_ai.request.seed"
GEN_AI_REQUEST_STREAM = "gen_ai.request.stream"
GEN_AI_RESPONSE_ID = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL = "gen_ai.response.model"
GEN_AI_RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
GEN_AI_USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_TEXT_INPUT_TOKENS = "gen_ai.usage.text.input_tokens"
GEN_AI_USAGE_TEXT_OUTPUT_TOKENS = "gen_ai.usage.text.output_tokens"
GEN_AI_USAGE_IMAGE_INPUT_TOKENS = "gen_ai.usage.image.input_tokens"
GEN_AI_USAGE_IMAGE_OUTPUT_TOKENS = "gen_ai.usage.image.output_tokens"

# --- Ours
CALLER = "pictor.caller"
GENERATION_ID = "pictor.generation.id"
SET_ID = "pictor.set.id"
OPERATION = "pictor.operation"
TIER = "pictor.tier"
ROUTE_ROW = "pictor.route.row"
REASON = "pictor.reason"
"""Our reason for a refusal or failure, as in ErrorInfo."""
ATTEMPT_INDEX = "pictor.attempt.index"
ATTEMPT_OUTCOME = "pictor.attempt.outcome"
OUTPUT_INDEX = "pictor.output.index"
MODEL_VERSION = "pictor.model.version"
FALLBACK_REASON = "pictor.fallback.reason"
"""How the attempt before it ended; only where the next candidate was tried, not on a retry of the same one."""
FALLBACK_FROM = "pictor.fallback.from"
ALARM_KIND = "pictor.alarm.kind"
OBSTACLE = "pictor.obstacle"
"""Why nothing is sent to a provider: `disabled`, `key_refused`, `unfunded` or `not_configured`."""
BUDGET_ID = "pictor.budget.id"
COST_NANOS = "pictor.cost.nanos"
COST_CURRENCY = "pictor.cost.currency"
COST_BASIS = "pictor.cost.basis"

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
"""Bounds for durations: the conventions stop at 10 s (RPC) and 82 s (GenAI), a picture may take 280 s."""

# --- Our metrics
COST = "pictor.cost"
OUTPUTS = "pictor.outputs"
ATTEMPTS = "pictor.attempts"
FALLBACKS = "pictor.fallbacks"
GENERATION_DURATION = "pictor.generation.duration"
QUEUE_DURATION = "pictor.queue.duration"
PROVIDER_DURATION = "pictor.provider.duration"
OVERHEAD_DURATION = "pictor.overhead.duration"
TIME_TO_FIRST_PREVIEW = "pictor.time_to_first_preview"
BREAKER_STATE = "pictor.breaker.state"
RATE_LIMIT_WAIT = "pictor.ratelimit.predicted_wait"
RATE_LIMIT_AVAILABLE = "pictor.ratelimit.available"
IN_FLIGHT = "pictor.inflight"
QUEUE_WAITING = "pictor.queue.waiting"
ALARMS = "pictor.alarms"
ALARM_TIME = "pictor.alarm.time"
PROVIDER_OBSTACLE = "pictor.provider.obstacle"
BUDGET_USED = "pictor.budget.used"

_PROVIDER_NAMES = {"openai": "openai", "gemini": "gcp.gemini"}


def provider_name(provider: str, backend: str | None) -> str:
    """The conventions' word for a provider (docs/gen-ai/gen-ai-spans.md); others are free, so ours serves.

    Args:
        provider: ours.
        backend: which of its APIs serves the account, in the catalog's words; None if it has no credentials.
    """
    return "gcp.vertex_ai" if backend == "vertex" else _PROVIDER_NAMES.get(provider, provider)
