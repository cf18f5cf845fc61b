"""The runner: a process that owns one loaded model and executes the tasks that schedulers assign to it.

A task's way through it: `attachment` (comes in on a scheduler's stream) -> `work` (checked and converted) ->
`workload` (held) -> `engine_thread` with `admission` (executed) -> `outcomes` (written to its record) ->
`attachment` (reported, the credit goes back).
"""
