"""Memory that goes from one user to the next."""

from vlm_assets.store.lent_memory import LentMemory


def test_nobody_gets_what_another_one_has():
    memory = LentMemory(3)
    first, second = memory.lend(5_000_000), memory.lend(5_000_000)
    assert first is not second
    memory.give_back(first)
    assert memory.lend(5_000_000) is first
    assert memory.lend(5_000_000) not in (first, second)


def test_the_smallest_block_that_is_large_enough_is_lent():
    memory = LentMemory(3)
    blocks = [memory.lend(size) for size in (90_000_000, 30_000_000, 60_000_000)]
    for block in blocks:
        memory.give_back(block)
    assert memory.lend(45_000_000) is blocks[2]
    assert memory.lend(45_000_000) is blocks[0]
    assert len(memory.lend(45_000_000)) >= 45_000_000


def test_of_too_many_blocks_the_smallest_goes():
    memory = LentMemory(2)
    blocks = [memory.lend(size) for size in (30_000_000, 90_000_000, 60_000_000)]
    for block in blocks:
        memory.give_back(block)
    assert [memory.lend(1) for _ in range(3)][:2] == [blocks[2], blocks[1]]
