"""The summary says what failed, shortly, and why first."""

import pytest
from forge_transform.result import BuildResult, Node
from forge_transform.summary import short, summarise

OK = Node("tickets", "model", "ok")
BROKEN = """Compilation Error in model ticket_costs (models/gold/ticket_costs.sql)
  This model has an enforced contract that failed.
  Please ensure the name, data_type, and number of columns in your contract match those of your model.

  | column_name | definition_type | contract_type   | mismatch_reason    |
  | ----------- | --------------- | --------------- | ------------------ |
  | cost_usd    | Float64         | Decimal(38, 12) | data type mismatch |
  | extra       | String          |                 | missing in contract |

  > in macro assert_columns_equivalent"""


def test_all_well() -> None:
    result = BuildResult((OK, Node("t", "test", "ok"), Node("w", "test", "warned")))
    summary = summarise(result, {"gold.tickets": 3}, 1.23456)
    assert (summary.outcome, summary.error, summary.failures) == ("succeeded", None, [])
    assert (summary.models.ok, summary.tests.ok, summary.duration_seconds) == (1, 2, 1.235)


def test_a_failed_test_and_what_it_kept_from_being_built() -> None:
    nodes = (
        OK,
        Node("unique_x", "test", "failed", "Got 2 results, configured to fail if != 0"),
        Node("y", "model", "skipped"),
    )
    summary = summarise(BuildResult(nodes), {}, 1)
    assert summary.outcome == "failed"
    assert summary.error is not None
    assert summary.error.reason == "TestsFailed"
    assert summary.error.message == "unique_x: Got 2 results, configured to fail if != 0"
    assert [f.node for f in summary.failures] == ["unique_x", "y"]
    assert (summary.models.skipped, summary.tests.failed) == (1, 1)


def test_a_failed_model_comes_before_failed_tests() -> None:
    nodes = (Node("unique_x", "test", "failed", "Got 2 results"), Node("ticket_costs", "model", "failed", BROKEN))
    error = summarise(BuildResult(nodes), {}, 1).error
    assert error is not None
    assert error.reason == "SchemaViolation"
    assert error.message == (
        "ticket_costs (and 1 more): breaks its contract: "
        "cost_usd: data type mismatch (is Float64, must be Decimal(38, 12)), "
        "extra: missing in contract (is String, must be absent)"
    )


def test_a_build_that_did_not_run_is_no_success() -> None:
    error = summarise(BuildResult((), RuntimeError("no such profile")), {}, 1).error
    assert error is not None
    assert "no such profile" in error.message
    nothing = summarise(BuildResult(()), {}, 1)
    assert nothing.outcome == "failed"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "Database Error in model tickets (models/gold/tickets.sql)\n  HTTPDriver for http://h:1 got ClickHouse "
            "error code 60\n   Code: 60. DB::Exception: Unknown table x. (UNKNOWN_TABLE) (version 26.9.2.1)\n"
            "  compiled code at target/run/x.sql",
            "Code: 60. DB::Exception: Unknown table x. (UNKNOWN_TABLE)",
        ),
        ("x" * 400, "x" * 299 + "…"),
        ("", ""),
    ],
)
def test_messages_are_cut_to_what_matters(message: str, said: str) -> None:
    assert short(message) == said
