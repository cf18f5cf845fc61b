"""Durable tasks and the result cache, in the scheduler: one run for any number of tasks that ask the same.

    tasks.py      what the dispatcher and the door for runners use: who starts, who waits for another's run, who ends
    sorting.py    when it is looked for tasks: beside the dispatcher's rounds, which never wait for it
    asking.py     whether an answer is there, or somebody else computes it
    flights.py    the runs of this process by key, and who waits for each
    landing.py    at the end of a run: its answer is read, kept, and given to those who wait
    giving.py     gives answers to those who wait, as fast as their tenants may be given any
    answering.py  ends tasks whose answer is known
    answers.py    the tiers and the flights that are shared with gateways and other schedulers
    renewing.py   keeps the leads of this process
    telling.py, holdings.py   how what comes of tasks is counted and traced
    served.py     what exactly the attached runners of a model are
    settings.py, opening.py   put it together

A task leads its key's flight only while it is with a runner, so no flight lives longer than a run: what ends the run
ends the flight, and the next that waits leads. Tasks that wait stay in the window, uncharged, in their place; their
deadlines and cancellations are matters of their records, as for any task that is queued.
"""

from scheduler.service.caching.answers import Answers
from scheduler.service.caching.opening import open_answers
from scheduler.service.caching.settings import TaskCacheSettings
from scheduler.service.caching.tasks import CachedTasks

__all__ = ["Answers", "CachedTasks", "TaskCacheSettings", "open_answers"]
