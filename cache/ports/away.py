"""The other side of a port is away: it does not answer in its time, or refuses for a state of its own.

Away
├── TierAway
│   └── TierFault
├── FlightsAway
├── PurgesAway
└── InvalidationsAway
"""


class Away(Exception):
    """The other side of a port does not answer in its time; what was asked may have been done or not."""


class TierAway(Away):
    """A tier does not answer: requests go on without it."""


class TierFault(TierAway):
    """A tier answers, and cannot do what it was asked, for one part of it: asking again does not help. What else was
    asked with it may have been done.
    """


class FlightsAway(Away):
    """The shared flights do not answer: each process then has only its own."""


class PurgesAway(Away):
    """The purge markers cannot be read or written."""


class InvalidationsAway(Away):
    """Other gateways can neither be told nor heard of what was computed anew."""
