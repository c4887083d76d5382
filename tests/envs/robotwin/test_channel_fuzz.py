"""The channel to RoboTwin's process: what is sent arrives, and what is no message ends in one typed sentence."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from envs.robotwin import worker

FEW, MANY = 200, pytest.param(5000, marks=pytest.mark.slow)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
ARRAYS = st.dictionaries(
    st.text(max_size=8),
    npst.arrays(st.sampled_from(worker.DTYPES), npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
    max_size=3,
)


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def quiet(cases: int) -> settings:
    return settings(
        max_examples=cases,
        derandomize=cases < 1000,  # the default tests are to fail for the change at hand, not for a new draw
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("cases", [FEW, MANY])
def test_what_is_sent_arrives(channel: tuple[socket.socket, socket.socket], cases: int) -> None:
    here, there = channel

    @quiet(cases)
    @given(name=st.text(max_size=8), fields=st.dictionaries(st.text(max_size=4), JSON, max_size=3), arrays=ARRAYS)
    def check(name: str, fields: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        worker.send(here, name, fields, arrays)
        got_name, got_fields, got = worker.receive(there)
        assert (got_name, got_fields, list(got)) == (name, fields, list(arrays))
        for key, array in arrays.items():
            assert got[key].dtype == array.dtype
            np.testing.assert_array_equal(got[key], array)

    check()


def receive(data: bytes) -> None:
    ends = socket.socketpair()
    sender = threading.Thread(target=lambda: (ends[0].sendall(data), ends[0].shutdown(socket.SHUT_WR)))
    sender.start()
    try:
        worker.receive(ends[1])
    except (worker.ProtocolError, EOFError) as error:
        assert str(error) and "\n" not in str(error)
    finally:
        sender.join()
        for end in ends:
            end.close()


@pytest.mark.parametrize("cases", [FEW, MANY])
def test_bytes_that_are_no_message(cases: int) -> None:
    described = st.tuples(st.text(max_size=4), st.sampled_from([*worker.DTYPES, "object"]), st.lists(st.integers()))
    header = st.tuples(
        st.just(worker.MAGIC) | st.binary(min_size=4, max_size=4), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
    )

    @quiet(cases)
    @given(
        text=JSON | st.tuples(st.text(max_size=4), JSON, st.lists(described, max_size=2) | JSON),
        data=st.binary(max_size=64),
        header=st.none() | header,
    )
    def check(text: Any, data: bytes, header: Any) -> None:
        words = json.dumps(text).encode()
        chosen = header or (worker.MAGIC, len(words), len(data))
        receive(worker.HEADER.pack(*chosen) + words + data)
        receive(data)

    check()
