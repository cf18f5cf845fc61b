"""A discrete-event simulator that runs the real policies: `python -m benchmarks.scheduling`.

Way through it: arrivals.py (or traces.py, from a file) makes what is asked of a fleet, scenarios.py names cases of it;
simulator.py moves time on; scheduled.py is the product's own window, cost model and routers, baselines.py what they are
compared with; fleet.py executes; figures.py counts; claims.py says what must hold of the figures.
"""
