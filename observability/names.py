"""Every name of our telemetry, declared once: spans, attributes, metrics.

Names that OpenTelemetry defines are taken from its semantic conventions for rpc, messaging, db and gen_ai
(https://opentelemetry.io/docs/specs/semconv/); what only Forebay has is under `forebay.`. Metrics are
written as Prometheus shows them.
"""

from typing import Final

# --- Values of service.name ---------------------------------------------------------------------------------

SERVICE_CLIENT: Final = "forebay-client"
SERVICE_GATEWAY: Final = "forebay-gateway"
SERVICE_SCHEDULER: Final = "forebay-scheduler"
SERVICE_RUNNER: Final = "forebay-runner"

# --- Span names ---------------------------------------------------------------------------------------------
# An RPC's span is named by its full method, for example "forebay.tasks.v1.TaskService/SubmitTasks".

SPAN_EXECUTE: Final = "forebay.execute"
"""Runner: one attempt of a tensor task, from its arrival to its outcome."""

SPAN_CACHE: Final = "forebay.cache"
"""Gateway: a call's way through the result cache; what it had computed is in spans beside it. Of a submit: the
look-up of all its tasks. Scheduler: a task's, from its arrival there until its answer is known."""


def messaging_span(operation: str, destination: str) -> str:
    """Name a span of the log: `send tasks.default.normal`."""
    return f"{operation} {destination}"


def generation_span(operation: str, model: str) -> str:
    """Name a span of a generation: `chat smollm2`."""
    return f"{operation} {model}"


def records_span(script: str) -> str:
    """Name a span of the record store: `EVALSHA create`."""
    return f"EVALSHA {script}"


# --- Attributes: Forebay's own ------------------------------------------------------------------------------

TASK_ID: Final = "forebay.task.id"
TASK_ATTEMPT: Final = "forebay.task.attempt"
TASK_PUBLICATION: Final = "forebay.task.publication"
TASK_STATE: Final = "forebay.task.state"
"""Lower case: succeeded, failed, cancelled, expired, …"""
QUEUE_POOL: Final = "forebay.queue.pool"
QUEUE_LEVEL: Final = "forebay.queue.level"
"""Lower case: critical, high, normal, low."""
CACHE_OUTCOME: Final = "forebay.cache.outcome"
"""hit, computed, shared, negative, absent, failed, or bypassed. Of a submit: how many tasks are hit, asked_later,
absent and bypassed."""
CACHE_TIER: Final = "forebay.cache.tier"
"""Where it was found: memory, redis, disk. Of a submit: how many of its tasks in each, `memory=2 redis=1`."""
CACHE_LOOKS: Final = "forebay.cache.looks"
"""What each tier said: `memory=miss redis=hit`. Of a submit: for how many questions, `memory:miss=3 redis:hit=1`."""
CACHE_REFUSAL: Final = "forebay.cache.refusal"
"""Why it cannot be cached: a word of `cache.key.Refusal`, `BYPASS` or, of tasks alone, `LITTLE_WORK`,
`INPUTS_FROM_PARENTS` or `MODEL_CHANGED`. Of a submit: each such word with how many tasks it is about."""
RUNNER_ID: Final = "forebay.runner.id"
RUNNER_PROVIDER: Final = "forebay.runner.provider"
"""ONNX Runtime execution provider in use."""
MODEL_NAME: Final = "forebay.model.name"

# --- Attributes: OpenTelemetry's ----------------------------------------------------------------------------

SERVICE_NAME: Final = "service.name"
SERVICE_INSTANCE_ID: Final = "service.instance.id"
ERROR_TYPE: Final = "error.type"

RPC_SYSTEM_NAME: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_RESPONSE_STATUS_CODE: Final = "rpc.response.status_code"
RPC_SYSTEM_GRPC: Final = "grpc"

MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_DESTINATION_PARTITION_ID: Final = "messaging.destination.partition.id"
MESSAGING_BATCH_MESSAGE_COUNT: Final = "messaging.batch.message_count"
MESSAGING_SYSTEM_PULSAR: Final = "pulsar"
OPERATION_SEND: Final = "send"
OPERATION_PROCESS: Final = "process"

DB_SYSTEM_NAME: Final = "db.system.name"
DB_OPERATION_NAME: Final = "db.operation.name"
DB_OPERATION_BATCH_SIZE: Final = "db.operation.batch.size"
DB_STORED_PROCEDURE_NAME: Final = "db.stored_procedure.name"
DB_SYSTEM_REDIS: Final = "redis"

GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_PROVIDER_FOREBAY: Final = "forebay"
GEN_AI_CHAT: Final = "chat"
GEN_AI_TEXT_COMPLETION: Final = "text_completion"

# --- Carriers of the trace context: W3C Trace Context -------------------------------------------------------

TRACEPARENT: Final = "traceparent"
"""Key in gRPC metadata and in the properties of a message on the log."""

# --- Metrics ------------------------------------------------------------------------------------------------
# Labels take values from small fixed sets, never an id, a prompt, or what a client may choose freely.

TASKS_SUBMITTED: Final = "forebay_tasks_submitted_total"
TASKS_REFUSED: Final = "forebay_tasks_refused_total"
TASKS_STARTED: Final = "forebay_tasks_started_total"
TASKS_FINISHED: Final = "forebay_tasks_finished_total"
QUEUE_DEPTH: Final = "forebay_queue_depth"
QUEUE_OLDEST_AGE: Final = "forebay_queue_oldest_age_seconds"
QUEUE_RUNNING: Final = "forebay_queue_running"
QUEUE_WORK: Final = "forebay_queue_expected_work_seconds"
"""Of what waits, in the time of one runner."""
QUEUE_SHARE: Final = "forebay_queue_share_ratio"
QUEUE_SHARE_GOT: Final = "forebay_queue_share_got_ratio"
BATCH_TASKS: Final = "forebay_batch_tasks"
"""Histogram of how many tasks travelled together, by hop."""
TOKENS_INPUT: Final = "forebay_tokens_input_total"
TOKENS_OUTPUT: Final = "forebay_tokens_output_total"
TASK_QUEUE_DURATION: Final = "forebay_task_queue_duration_seconds"
TASK_EXECUTE_DURATION: Final = "forebay_task_execute_duration_seconds"
TASK_DURATION: Final = "forebay_task_duration_seconds"
"""From acceptance to the end."""
PREDICTION_ERROR: Final = "forebay_prediction_error_ratio"
"""Histogram of what tasks did cost, divided by what they were expected to cost when they were queued."""
RUNNER_HELD: Final = "forebay_runner_held_tasks"
RUNNER_CAPACITY: Final = "forebay_runner_capacity_tasks"
DIRECT_CALL_DURATION: Final = "forebay_direct_call_duration_seconds"
"""Of calls of clients that wait on the line, in the gateway, by door, model and outcome."""
RPC_SERVER_CALL_DURATION: Final = "rpc_server_call_duration_seconds"
GEN_AI_TIME_TO_FIRST_TOKEN: Final = "gen_ai_server_time_to_first_token_seconds"
GEN_AI_TIME_PER_OUTPUT_TOKEN: Final = "gen_ai_server_time_per_output_token_seconds"
GEN_AI_REQUEST_DURATION: Final = "gen_ai_server_request_duration_seconds"

STEP_DURATION: Final = "forebay_step_duration_seconds"
"""Of a language model's engine."""
STEP_SECONDS: Final = "forebay_step_phase_seconds_total"
GENERATION_ROWS: Final = "forebay_generation_rows"
PREEMPTIONS: Final = "forebay_generation_preemptions_total"
KV_TOKENS: Final = "forebay_kv_cache_tokens"
KV_CAPACITY: Final = "forebay_kv_cache_capacity_tokens"
PREFIX_QUERIED: Final = "forebay_prefix_cache_queried_tokens_total"
PREFIX_HIT: Final = "forebay_prefix_cache_hit_tokens_total"

CACHE_CALLS: Final = "forebay_cache_calls_total"
"""Calls and tasks that may be cached, by model and outcome: the values of `CACHE_OUTCOME` but bypassed. A task is
counted once, where it ends with regard to the cache: in the gateway as it is submitted, or in a scheduler.
"""
CACHE_UNCACHED: Final = "forebay_cache_uncached_calls_total"
"""Calls and tasks that were executed as if there were no cache, by the values of `CACHE_REFUSAL`."""
CACHE_LOOK_DURATION: Final = "forebay_cache_look_duration_seconds"
"""Of one look into one tier, by tier and result: hit, miss, purged, away."""
CACHE_HITS: Final = "forebay_cache_hits_total"
CACHE_MISSES: Final = "forebay_cache_misses_total"
CACHE_FILLS: Final = "forebay_cache_fills_total"
CACHE_EVICTIONS: Final = "forebay_cache_evictions_total"
CACHE_REFUSED: Final = "forebay_cache_refused_total"
"""Entries that a tier did not take: too large, or no room that was their own namespace's to make."""
CACHE_DAMAGED: Final = "forebay_cache_damaged_total"
CACHE_EXPIRED: Final = "forebay_cache_expired_total"
CACHE_PURGED: Final = "forebay_cache_purged_total"
CACHE_UNANSWERED: Final = "forebay_cache_unanswered_total"
"""Calls that a tier did not answer in its time."""
CACHE_ENTRIES: Final = "forebay_cache_entries"
CACHE_BYTES: Final = "forebay_cache_bytes"
CACHE_AWAY: Final = "forebay_cache_tier_away"
"""1 while a tier is left alone because it did not answer."""
CACHE_WRITES_WAITING: Final = "forebay_cache_writes_waiting_bytes"
CACHE_WRITES_DROPPED: Final = "forebay_cache_writes_dropped_total"
CACHE_REFRESHES: Final = "forebay_cache_refreshes_total"
"""Answers computed anew before their end, by result: refreshed, failed; refused where there was no place."""
CACHE_FLIGHTS: Final = "forebay_cache_flights"
"""Computations under way that others may share."""
CACHE_FLIGHTS_OUTAGES: Final = "forebay_cache_flights_outages_total"
"""How often the flights that all gateways share did not answer."""
CACHE_FAULTS: Final = "forebay_cache_faults_total"
"""Faults behind the cache that no request failed for, by place."""
CACHE_PURGES_UNREAD: Final = "forebay_cache_purges_unread"
"""1 while purges of others are not known: the tiers that are shared with them are not used."""
CACHE_PURGES_UNWRITTEN: Final = "forebay_cache_purges_unwritten"
"""1 while a purge that holds is not written beside the entries on disk."""

# vLLM's own, so that dashboards made for it work (https://docs.vllm.ai/en/stable/usage/metrics/).

VLLM_RUNNING: Final = "vllm:num_requests_running"
VLLM_WAITING: Final = "vllm:num_requests_waiting"
VLLM_KV_USAGE: Final = "vllm:kv_cache_usage_perc"
VLLM_PREEMPTIONS: Final = "vllm:num_preemptions_total"
VLLM_PREFIX_QUERIES: Final = "vllm:prefix_cache_queries_total"
VLLM_PREFIX_HITS: Final = "vllm:prefix_cache_hits_total"
VLLM_PROMPT_TOKENS: Final = "vllm:prompt_tokens_total"
VLLM_GENERATION_TOKENS: Final = "vllm:generation_tokens_total"
VLLM_REQUEST_SUCCESS: Final = "vllm:request_success_total"
VLLM_ITERATION_TOKENS: Final = "vllm:iteration_tokens_total"
"""A histogram, whatever its name ends in."""
VLLM_TIME_TO_FIRST_TOKEN: Final = "vllm:time_to_first_token_seconds"
VLLM_INTER_TOKEN_LATENCY: Final = "vllm:inter_token_latency_seconds"
VLLM_REQUEST_LATENCY: Final = "vllm:e2e_request_latency_seconds"
VLLM_QUEUE_TIME: Final = "vllm:request_queue_time_seconds"

LABEL_LEVEL: Final = "level"
LABEL_POOL: Final = "pool"
LABEL_STATE: Final = "state"
LABEL_REASON: Final = "reason"
LABEL_HOP: Final = "hop"
LABEL_DOOR: Final = "door"
LABEL_CODE: Final = "code"
LABEL_MODEL: Final = "model"
LABEL_PHASE: Final = "phase"
LABEL_OUTCOME: Final = "outcome"
LABEL_RESULT: Final = "result"
LABEL_TIER: Final = "tier"
LABEL_PLACE: Final = "place"
LABEL_MODEL_NAME: Final = "model_name"
LABEL_ENGINE: Final = "engine"
LABEL_FINISHED_REASON: Final = "finished_reason"
LABEL_RPC_METHOD: Final = "rpc_method"
LABEL_RPC_STATUS: Final = "rpc_response_status_code"

HOP_SUBMIT: Final = "submit"
"""Tasks in one submit call."""
HOP_DIRECT: Final = "direct"
"""Calls in one message to a runner."""
HOP_PUBLISH: Final = "publish"
"""Tasks in one message on the log."""
HOP_LEASE: Final = "lease"
"""Tasks leased at once."""
HOP_EXECUTE: Final = "execute"
"""Tasks in one run of the model."""
HOP_FINISH: Final = "finish"
"""Outcomes written at once."""
