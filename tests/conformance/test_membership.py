"""What every Membership must do."""

from tests.conformance.stores import Store


async def test_members_show_their_cards_sorted_by_name(store: Store) -> None:
    await store.membership.announce("runner", "b", b"\x00card\xff", 60_000)
    await store.membership.announce("runner", "a", b"", 60_000)
    await store.membership.announce("scheduler", "c", b"other", 60_000)
    assert await store.membership.members("runner") == [("a", b""), ("b", b"\x00card\xff")]
    assert await store.membership.members("nobody") == []


async def test_a_card_is_replaced_by_the_next(store: Store) -> None:
    for card in (b"old", b"new"):
        await store.membership.announce("runner", "a", card, 60_000)
    assert await store.membership.members("runner") == [("a", b"new")]


async def test_a_member_that_stops_announcing_is_forgotten(store: Store) -> None:
    await store.membership.announce("runner", "a", b"1", 1)
    await store.membership.announce("runner", "b", b"2", 60_000)
    await store.pass_ms(5)
    assert await store.membership.members("runner") == [("b", b"2")]


async def test_a_member_that_withdraws_is_gone_at_once(store: Store) -> None:
    await store.membership.announce("runner", "a", b"1", 60_000)
    await store.membership.withdraw("runner", "a")
    await store.membership.withdraw("runner", "a")
    assert await store.membership.members("runner") == []


async def test_a_duty_is_held_by_one_until_it_runs_out(store: Store) -> None:
    assert await store.membership.hold("sweep", "a", 60_000)
    assert not await store.membership.hold("sweep", "b", 60_000)
    assert await store.membership.hold("other", "b", 60_000)
    assert await store.membership.hold("sweep", "a", 1)
    await store.pass_ms(5)
    assert await store.membership.hold("sweep", "b", 60_000)
    assert not await store.membership.hold("sweep", "a", 60_000)
