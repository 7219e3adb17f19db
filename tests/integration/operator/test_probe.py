"""Whether an external store answers: asked of a real one, of nothing, and with a DSN that is none."""

from __future__ import annotations

import socket

from forge_operator.probe import Prober


async def test_a_store_that_answers(store_dsn: str) -> None:
    fact = await Prober().ask(store_dsn)
    assert (fact.holds, fact.reason) == (True, "Ready")


async def test_nothing_there() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        fact = await Prober().ask(f"http://forge:hidden@127.0.0.1:{port}")
    assert (fact.holds, fact.reason) == (False, "Unreachable")
    assert f"127.0.0.1:{port}" in fact.message
    assert "hidden" not in fact.message


async def test_no_dsn() -> None:
    fact = await Prober().ask("forge:hidden@store")
    assert (fact.holds, fact.reason) == (False, "InvalidDsn")
    assert "hidden" not in fact.message


async def test_a_store_that_comes_back_is_asked_again(store_dsn: str) -> None:
    """Only a good answer is kept for a while."""
    prober = Prober()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    assert (await prober.ask(f"http://u:p@127.0.0.1:{port}")).holds is False
    assert (await prober.ask(store_dsn)).holds is True
