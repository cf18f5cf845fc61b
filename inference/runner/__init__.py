"""The runner: a process that owns one loaded model and executes the tasks that schedulers assign to it.

A task's way through it: `attachment` (comes in on a scheduler's stream) -> `work` (checked and converted) ->
`workload` (held) -> `engine_thread` with `admission` (executed) -> `outcomes` (written to its record) ->
`attachment` (reported, the credit goes back). Calls of clients that wait on the line take the way of `direct` through
the same engine.
"""
