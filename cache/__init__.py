"""The result cache: one inference for any number of the same question.

A question becomes a `Key` (`cache.key`): a keyed digest of everything that can change the answer, within the
namespace that asks. An answer becomes an `Entry` (`cache.answer`, `cache.entry`). Entries live in up to three tiers
(`cache.ports.Tier`): the gateway's memory, Redis, and a database on disk, which `cache.tiers` stacks: a look-up goes
down until a tier answers, an answer that proves useful moves up, and a new one is written downwards behind the
request. Each tier has its own size, time to live and eviction policy (`cache.eviction`), and in each tier every
namespace has a partition with a quota in bytes: nothing that one tenant does evicts, slows or reveals what another
has.

Around the tiers stand the guards: `cache.freshness` (times to live that do not end together, and early refresh),
`cache.negative` (short answers to questions that cannot be answered), `cache.flights` (one computation for all who
ask at once, in all gateways), `cache.purges` (entries that must not be served any more), and `cache.advice` (what
another size, policy or time to live would bring).

The cache never fails a request: a tier that does not answer is away for a while, and a damaged entry is a miss.
Everything here is pure but `cache.adapters`; time comes in as `now_ms`, milliseconds since 1970.
"""
