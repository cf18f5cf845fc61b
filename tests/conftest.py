"""Fixtures live in tests/fixtures, one module for each real part."""

pytest_plugins = [
    "tests.fixtures.valkey",
    "tests.fixtures.pulsar",
    "tests.fixtures.collector",
    "tests.fixtures.smollm2",
    "tests.fixtures.minilm",
    "tests.fixtures.grpcurl",
    "tests.fixtures.system",
]
