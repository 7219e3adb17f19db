import json
from typing import Any
import pytest
def test_steps(exact: Any) -> None:
    name="steps-github"
    sweep={"sweep":"1s"}
    for step in range(8):
        l=exact.load("github", name)
        print(step, l.summary["requests"], l.summary["rows"], l.summary["warnings"][2:])
        try:
            exact.assert_equal("github", name)
        except AssertionError as e: print("DIFF", str(e)[:900])
        exact.organisation.ask("/advance", {"minutes": 37 * (step % 4 + 1)})
    l=exact.load("github", name, **sweep)
    print('sweep', l.summary["requests"], l.summary["rows"], l.summary["warnings"][2:])
    l=exact.load("github", name, **sweep)
    print('sweep', l.summary["requests"], l.summary["rows"], l.summary["warnings"][2:])
    exact.assert_equal("github", name)
