"""A discrete-event simulator that runs the real policies: `python -m benchmarks.scheduling`.

Way through it: arrivals.py (or traces.py, from a file) makes what is asked of a fleet (scenario.py), scenarios.py names
cases of it; simulator.py moves time on; scheduled.py is the product's own window, cost model and routers, fed from
lanes.py, baselines.py what they are compared with, contenders.py all of them; fleet.py executes jobs.py; figures.py and
fairness.py count, theory.py computes; claims/ says what must hold of the figures, tables.py how they are printed.
"""
