"""The direct way through a runner: calls of clients that wait on the line, as gateways send them over
`RunnerService.Execute`. Nothing is recorded; they share the line and the engine with leased tasks.

A call's way: `stream` (read from its gateway) -> `call_table` with `reading` (checked, converted, held) ->
`inference/runner/engine_thread.py` (executed) -> `answering` with `answers` (converted back) -> `outbox` (collected) ->
`stream` (written).
"""
