"""The gateway: the only public door. It accepts tasks durably, answers questions about them, and streams what happens.

A submitted task passes `task_service.py` (transport), `submit.py` (use case), `validation.py`, the record store, and
`publisher.py`, which hands it to the log; the scheduler takes it from there.
"""
