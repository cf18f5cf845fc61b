"""What every KeyStore must do."""

from tests.conformance.stores import OTHER_PARTITION, PARTITION, Store, new_tasks


async def test_keys_are_known_once_a_task_was_made_with_them_and_only_to_its_tenant(store: Store) -> None:
    [first] = new_tasks(1, key="a", fingerprint="f")
    [second] = new_tasks(1, key="b", fingerprint="f", partition=OTHER_PARTITION)
    await store.add(first, second)
    asked = [(PARTITION, "a"), (PARTITION, "c"), (OTHER_PARTITION, "b"), (OTHER_PARTITION, "d"), (3, "e")]
    assert await store.keys.known("acme", asked) == [True, False, True, False, False]
    assert await store.keys.known("other", asked) == [False] * 5
    assert await store.keys.known("acme", []) == []


async def test_asking_records_nothing(store: Store) -> None:
    assert await store.keys.known("acme", [(PARTITION, "a")] * 3) == [False] * 3
    [task] = new_tasks(1, key="a", fingerprint="f")
    await store.add(task)
    assert (await store.read(task.id)).id == task.id


async def test_many_keys_are_answered_in_their_order(store: Store) -> None:
    tasks = [new_tasks(1, key=f"k{number}", fingerprint="f")[0] for number in range(0, 300, 7)]
    await store.add(*tasks)
    asked = [(PARTITION, f"k{number}") for number in range(300)]
    assert await store.keys.known("acme", asked) == [number % 7 == 0 for number in range(300)]
