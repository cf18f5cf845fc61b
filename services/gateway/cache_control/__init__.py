"""What operators and tenants do with the result cache; `services/gateway/cache_service.py` calls it.

scope.py           whose answers a request means, and who may mean them
stats.py           what tiers hold and have counted
purging.py         purges
leaving.py         tenants who are no more
requests.py        requests that are looked for or are to be warm
finding.py         what is kept of one answer
warming.py         answers computed ahead of their use
warming_queue.py   whose turn it is to have some computed
advising.py        what other settings would bring
advice_process.py  the process that finds that out
"""
