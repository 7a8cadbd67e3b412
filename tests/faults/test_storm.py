"""A short run of `tests.faults.storm`; a long one is for hand."""

from tests.faults.storm import run


def test_nothing_is_lost_or_doubled() -> None:
    """Whatever dies of functions, broker, RabbitMQ and MariaDB: each promised job ends once, and its owner is told."""
    _, broken = run(seed=7, faults=5, jobs=10)
    assert broken == []
