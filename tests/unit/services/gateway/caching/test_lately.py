"""What is kept of short requests: bounded for each tenant, and in tenants."""

from services.gateway.caching.lately import OBJECT_BYTES, Lately


def test_what_is_kept_is_found_by_its_own_tenant_alone() -> None:
    lately: Lately[str] = Lately()
    assert not lately
    lately.keep("acme", b"request", "made", 10)
    assert lately
    assert lately.find("acme", b"request") == "made"
    assert lately.find("acme", b"other") is None
    assert lately.find("other", b"request") is None


def test_a_tenant_that_keeps_too_much_loses_its_own_and_nobody_elses() -> None:
    room = 3 * (OBJECT_BYTES + 10)
    lately: Lately[int] = Lately(tenant_bytes=room)
    lately.keep("quiet", 0, 0, 10)
    for number in range(50):
        lately.keep("flood", number, number, 10)
    assert [lately.find("flood", number) for number in (46, 47, 48, 49)] == [None, 47, 48, 49]
    assert lately.find("quiet", 0) == 0
    assert lately.held_bytes == room + OBJECT_BYTES + 10


def test_what_is_more_than_a_tenant_may_have_is_not_kept_and_costs_nothing_else() -> None:
    lately: Lately[int] = Lately(tenant_bytes=4 * OBJECT_BYTES)
    lately.keep("acme", 1, 1, 10)
    lately.keep("acme", 2, 2, 4 * OBJECT_BYTES)
    assert (lately.find("acme", 1), lately.find("acme", 2)) == (1, None)


def test_keeping_again_and_dropping_give_the_bytes_back() -> None:
    lately: Lately[int] = Lately()
    for number in range(5):
        lately.keep("acme", "same", number, 100)
    assert (lately.find("acme", "same"), lately.held_bytes) == (4, 100 + OBJECT_BYTES)
    lately.drop("acme", "same")
    lately.drop("acme", "same")
    lately.drop("nobody", "same")
    assert (lately.find("acme", "same"), lately.held_bytes) == (None, 0)


def test_of_more_tenants_than_have_room_the_first_begins_anew() -> None:
    lately: Lately[int] = Lately(most_tenants=2)
    for tenant in ("one", "two", "three"):
        lately.keep(tenant, 0, 0, 10)
    assert [lately.find(tenant, 0) for tenant in ("one", "two", "three")] == [None, 0, 0]


def test_a_tenant_whose_requests_come_all_the_time_is_not_the_one_that_begins_anew() -> None:
    lately: Lately[int] = Lately(most_tenants=2)
    lately.keep("busy", 0, 0, 10)
    for number in range(5):
        lately.keep(f"passing {number}", 0, 0, 10)
        assert lately.find("busy", 0) == 0
