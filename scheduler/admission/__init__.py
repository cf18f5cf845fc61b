"""Which tasks may come in: limits of the policy against what waits, what was accepted since anybody looked, and rates.

Pure: no I/O, no clock, no event loop. The gateway feeds it (services/gateway/quotas.py).
"""

from scheduler.admission.backlog import Backlog, Taken, Waiting
from scheduler.admission.bucket import Buckets, TokenBucket
from scheduler.admission.limiter import Decision, Limiter, Wanted
from scheduler.admission.meter import Refusal

__all__ = [
    "Backlog",
    "Buckets",
    "Decision",
    "Limiter",
    "Refusal",
    "Taken",
    "TokenBucket",
    "Waiting",
    "Wanted",
]
