"""Showing and changing the policy: GetPolicy and UpdatePolicy. Called by `queue_service.py`."""

import logging
from collections.abc import Sequence
from dataclasses import fields
from typing import Final

from forebay.queues.v1 import queue_service_pb2
from scheduler.errors import InvalidInput, PolicyMoved
from scheduler.policies.policy import Policy
from scheduler.policies.policy_rules import Fault
from scheduler.ports.policies import PolicyStore, StoredPolicy
from services.gateway import convert
from services.gateway.caller import Caller
from services.gateway.request_validation import refuse
from services.policy_following import PolicyFollower
from services.policy_on_wire import from_wire, restored, stored, to_wire

log = logging.getLogger(__name__)

_FIELDS: Final = tuple(field.name for field in queue_service_pb2.Policy.DESCRIPTOR.fields)
_TRIES: Final = 5
"""How often a change that is meant for whichever policy stands is made anew because that one was replaced meanwhile."""


class Policies:
    """Reads and replaces the stored policy, which every process follows."""

    def __init__(self, store: PolicyStore, follower: PolicyFollower) -> None:
        """`follower` is this process's own: it learns of a change here at once, and knows what stands while the stored
        policy cannot be read.
        """
        self._store = store
        self._follower = follower

    async def get(self, caller: Caller) -> queue_service_pb2.GetPolicyResponse:
        """Return the policy that stands, as far as the caller may see it. Raises RecordsUnavailable."""
        standing = await self._store.policy()
        policy = to_wire(self._standing(standing))
        if not caller.operator:
            _hide_others(policy, caller.tenant)
        answer = queue_service_pb2.GetPolicyResponse(policy=policy, version=standing.version)
        _stamp(answer, standing)
        return answer

    async def update(
        self, request: queue_service_pb2.UpdatePolicyRequest, caller: Caller
    ) -> queue_service_pb2.UpdatePolicyResponse:
        """Replace the fields that the mask names. What would change nothing makes no new version. Whether the caller
        may do it was asked before (`caller.py`).

        Raises InvalidInput with every fault, or PolicyMoved: the old policy stands. Raises RecordsUnavailable: the
        outcome is unknown.
        """
        _check_mask(request.update_mask)
        wanted = request.version if request.HasField("version") else None
        standing = await self._store.policy()
        for _ in range(_TRIES):
            if wanted not in (None, standing.version):
                break
            before = self._standing(standing)
            policy = _changed(before, request)
            body = stored(policy)
            if body == (standing.body or stored(before)):
                return _answer(policy, standing)
            made = await self._store.replace(body, standing.version)
            if made is not None:
                self._follower.take(made)
                changes = [field.name for field in fields(Policy) if _differ(policy, before, field.name)]
                log.info(
                    "policy changed",
                    extra={"tenant": caller.tenant, "version": made.version, "fields": ", ".join(changes)},
                )
                return _answer(policy, made)
            standing = await self._store.policy()
        raise PolicyMoved(wanted, standing.version)

    def _standing(self, standing: StoredPolicy) -> Policy:
        """Return what stands: what is stored, or what processes go on with when they cannot read that."""
        if not standing.version:
            return self._follower.initial
        try:
            return restored(standing.body)
        except InvalidInput as fault:
            # Told when it was found; whoever changes the policy now replaces what nobody can read.
            log.debug("stored policy unreadable", extra={"version": standing.version, "faults": str(fault)})
            return self._follower.policy


def _check_mask(mask: Sequence[str]) -> None:
    faults: list[Fault] = [
        (f"update_mask[{index}]", f"{name[:64]!r} is no field of a policy; it has {', '.join(_FIELDS)}")
        for index, name in enumerate(mask)
        if name not in _FIELDS
    ]
    refuse(faults if mask else [("update_mask", "must name at least one field")])


def _changed(before: Policy, request: queue_service_pb2.UpdatePolicyRequest) -> Policy:
    """Return a policy with the named fields of a request. Raises InvalidInput."""
    merged = to_wire(before)
    given = queue_service_pb2.Policy()
    given.CopyFrom(request.policy)
    for name in _FIELDS:
        (merged if name in request.update_mask else given).ClearField(name)  # type: ignore[arg-type]  # any name
    merged.MergeFrom(given)
    policy, faults = from_wire(merged)
    refuse([(f"policy.{field}", fault) for field, fault in faults])
    return policy


def _answer(policy: Policy, standing: StoredPolicy) -> queue_service_pb2.UpdatePolicyResponse:
    answer = queue_service_pb2.UpdatePolicyResponse(policy=to_wire(policy), version=standing.version)
    _stamp(answer, standing)
    return answer


def _stamp(
    answer: queue_service_pb2.GetPolicyResponse | queue_service_pb2.UpdatePolicyResponse,
    standing: StoredPolicy,
) -> None:
    if standing.version:
        convert.stamp(answer.update_time, standing.time_ms)


def _differ(one: Policy, other: Policy, field: str) -> bool:
    return bool(getattr(one, field) != getattr(other, field))


def _hide_others(policy: queue_service_pb2.Policy, tenant: str) -> None:
    """Leave out what is said of other tenants by name."""
    for name in [name for name in policy.tenant_weights if name != tenant]:
        del policy.tenant_weights[name]
    mine = [limit for limit in policy.limits if limit.tenant in ("", tenant)]
    del policy.limits[:]
    policy.limits.extend(mine)
