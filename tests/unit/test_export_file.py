"""Reading providers' cost exports: what is taken, as exact decimals, and what is refused, with its place."""

import json
from datetime import date

import pytest

from pictord.invoice.export_file import ExportError, read

NAMES = {
    "gpt-image-2": "gpt-image-2",
    "gpt-image-2-2026-04-21": "gpt-image-2",
    "gemini-3.1-flash-image": "gemini-3.1-flash-image",
    "nano-banana-2": "gemini-3.1-flash-image",
}
GPT, NANO = "gpt-image-2", "gemini-3.1-flash-image"
DAY, NEXT = date(2026, 11, 22), date(2026, 11, 23)
START, END = 1795305600, 1795392000  # that day in UTC


def bucket(*results: dict, start: int = START) -> dict:
    return {"object": "bucket", "start_time": start, "end_time": start + 86400, "results": list(results)}


def result(value: object, line_item: object = "gpt-image-2, image output", currency: str = "usd") -> dict:
    amount = {"value": value, "currency": currency}
    return {"object": "organization.costs.result", "amount": amount, "line_item": line_item, "project_id": None}


def page(*buckets: dict, has_more: bool = False) -> str:
    next_page = "page_2" if has_more else None
    return json.dumps({"object": "page", "data": list(buckets), "has_more": has_more, "next_page": next_page})


def test_the_costs_api_of_openai():
    """Line items of one model are summed, whichever the snapshot; other models are left out, and told."""
    text = page(
        bucket(
            result(0.1),
            result(0.2, "gpt-image-2-2026-04-21, image input"),
            result(0.0000000005, "gpt-image-2-2026-09-01, text input"),
            result(7, "gpt-5.6, input"),
            result(1.5, "gpt-image-2.5-flare, image output"),
        ),
        bucket(start=END),
    )

    invoice = read(text, NAMES)

    assert invoice.amounts == {(DAY, GPT): 300_000_000}
    assert invoice.left_out == {"gpt-5.6, input": 7_000_000_000, "gpt-image-2.5-flare, image output": 1_500_000_000}
    assert invoice.days == {DAY, NEXT}


GOOGLES = """usage_start_time,sku.description,cost,currency,cost_type
2026-11-22,Gemini Image Generation Output Tokens,1.39,USD,regular
2026-11-23,Gemini 3.1 Flash Image output tokens,0.50,USD,regular
2026-11-23,Cloud Storage,0,USD,regular
2026-11-23,Tax,9,USD,tax
"""


def test_nothing_is_concluded_of_a_day_with_something_unknown_on_it():
    """It may be ours under a new name; what costs nothing, and a tax, are not."""
    assert read(GOOGLES, NAMES).unclear_days == {DAY}
    assert read(GOOGLES, NAMES, not_ours=["image generation"]).unclear_days == set()
    assert read(GOOGLES, NAMES, not_ours=["image generation"]).left_out == read(GOOGLES, NAMES).left_out
    with pytest.raises(ExportError, match="nothing that is left out has 'pub/sub' in its name"):
        read(GOOGLES, NAMES, not_ours=["Gemini", "Pub/Sub"])


@pytest.mark.parametrize(
    "text",
    [
        page(bucket(result(1, "gpt-image-2, image output"))),
        "usage_start_time,sku.description,cost,currency\n2026-11-22,Tokens of gpt-image-2,1,USD\n",
    ],
)
def test_another_providers_export_is_refused(text):
    """All of it would be left out, and the ledger agree with nothing."""
    ours = {name: model for name, model in NAMES.items() if model == NANO}
    others = {name: model for name, model in NAMES.items() if model == GPT}

    with pytest.raises(ExportError, match="is gpt-image-2, of another provider"):
        read(text, ours, foreign=others)


def test_amounts_are_decimals_and_only_the_sum_is_rounded():
    """Three thousand times 0.1 nano-dollar is 300, and 0.1 + 0.2 is 0.3."""
    many = read(page(bucket(*(result(1e-10) for _ in range(3000)))), NAMES)
    exact = read(f'{{"day": "2026-11-22", "model": "{GPT}", "usd": 1234567.123456789}}', NAMES)

    assert many.amounts == {(DAY, GPT): 300}
    assert exact.amounts == {(DAY, GPT): 1_234_567_123_456_789}


def test_pages_follow_each_other_in_lines_or_in_a_list():
    """As somebody fetched them."""
    first, second = page(bucket(result(1)), has_more=True), page(bucket(result(2), start=END))
    expected = {(DAY, GPT): 10**9, (NEXT, GPT): 2 * 10**9}

    assert read(f"{first}\n{second}\n", NAMES).amounts == expected
    assert read(f"[{first}, {second}]", NAMES).amounts == expected


def test_the_cost_export_of_the_usage_page():
    """Its columns as they come, with a byte order mark; a day without cost has only its time."""
    text = (
        "\ufeffstart_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_name\r\n"
        f"{START},{END},2026-11-22T00:00:00+00:00,2026-11-23T00:00:00+00:00,0.25,usd,"
        '"gpt-image-2, image output",studio\r\n'
        f"{END},{END + 86400},2026-11-23T00:00:00+00:00,2026-11-24T00:00:00+00:00,,,,\r\n"
    )

    invoice = read(text, NAMES)

    assert invoice.amounts == {(DAY, GPT): 250_000_000}
    assert invoice.days == {DAY, NEXT}


SKUS = [
    ("Generate content output token count gemini 3.1 flash image image", "0.06", NANO),
    ("Generate content input token count Gemini 3.1 Flash Image text", "0.0005", NANO),
    ("Nano Banana 2 - Output", "0.1", NANO),
    ("Generate content output token count gemini 3.1 flash text", "3", None),
    ("Nano Banana 2.1 - Output", "4", None),
    ("Cloud Run CPU", "5", None),
]


def test_the_bigquery_export_of_google_as_json_and_as_csv():
    """Hours are summed into UTC days, SKUs into models; taxes and other services are left out, credits not counted."""
    rows = [
        {
            "usage_start_time": "2026-11-22 07:00:00 UTC",
            "usage_end_time": "2026-11-22 08:00:00 UTC",
            "sku": {"id": "1-2", "description": sku},
            "cost": cost,
            "currency": "USD",
            "cost_type": "regular",
            "credits": [{"name": "promotion", "amount": "-0.01"}],
        }
        for sku, cost, _ in SKUS
    ]
    tax = rows[0] | {"cost_type": "tax", "cost": "0.5"}
    lines = "\n".join(map(json.dumps, [*rows, tax]))
    table = "usage_start_time,sku_description,cost,currency\n" + "".join(
        f"2026-11-22T08:00:00+01:00,{sku},{cost},USD\n" for sku, cost, _ in SKUS
    )

    for text in (lines, json.dumps([*rows, tax])):
        invoice = read(text, NAMES)
        assert invoice.amounts == {(DAY, NANO): 160_500_000}
        assert invoice.left_out["tax"] == 500_000_000
    assert read(table, NAMES).amounts == {(DAY, NANO): 160_500_000}
    assert set(read(table, NAMES).left_out) == {sku for sku, _, model in SKUS if model is None}


def test_a_table_of_ones_own():
    """What an operator's own query or spreadsheet has; refunds are negative."""
    invoice = read(f"day,model,usd\n2026-11-22,{GPT},10.5\n2026-11-22,{GPT},-0.5\n\n2026-11-23,{NANO},1e-2\n", NAMES)

    assert invoice.amounts == {(DAY, GPT): 10_000_000_000, (NEXT, NANO): 10_000_000}


HEAD = "day,model,usd\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "it has no rows", id="empty"),
        pytest.param("day,model,usd\n", "it has no rows", id="only a header"),
        pytest.param(HEAD + "2026-11-22,x,ten\n", "line 2, column usd: 'ten' is not an amount", id="no number"),
        pytest.param(HEAD + "2026-11-22,x,\n", "line 2, column usd: '' is not an amount", id="no amount"),
        pytest.param(HEAD + "2026-11-22,x,NaN\n", "line 2, column usd: NaN is not an amount", id="NaN"),
        pytest.param(HEAD + "2026-11-22,x,1e99\n", "line 2, column usd: 1e99 is not an amount", id="too much"),
        pytest.param(
            HEAD + "2026-11-22,x,1\n22.11.2026,x,1\n", "line 3, column day: '22.11.2026' is no time", id="day"
        ),
        pytest.param(HEAD + "2026-11-22,x\n", "line 2: 2 columns, the first line has 3", id="short line"),
        pytest.param(HEAD + '"2026-11-22"y,x,1\n', "line 2: ", id="bad quotes"),
        pytest.param("model,usd\nx,1\n", "line 2: no column for the day", id="no day"),
        pytest.param("day,usd\n2026-11-22,1\n", "line 2: no column for what is billed", id="no model"),
        pytest.param("day,model\n2026-11-22,x\n", "line 2: no column for the amount", id="no amount column"),
        pytest.param(
            "day,model,cost\n2026-11-22,x,1\n", "line 2: no column for the currency", id="currency is never assumed"
        ),
        pytest.param(
            "day,model,cost,currency\n2026-11-22,x,1,EUR\n", "line 2, column currency: 'EUR' is not USD", id="euro"
        ),
        pytest.param('{"day": "2026-11-22",\n "model" 1}', "line 2, column 10: Expecting ':'", id="broken JSON"),
        pytest.param('{"day": "2026-11-22", "model": "x", "usd": NaN}', "line 1: NaN is no amount", id="JSON NaN"),
        pytest.param("[1]", "entry 1: not an object", id="numbers"),
        pytest.param(page({"start_time": START}), "line 1, data[0]: no bucket with results", id="no results"),
        pytest.param(page(bucket(result(1)), has_more=True), "line 1: has_more is true", id="half an export"),
        pytest.param(
            page(bucket(result(1, None))), "data[0].results[0], column line_item: says not what", id="not grouped"
        ),
        pytest.param(page(bucket(result("x"))), "data[0].results[0], column amount.value: 'x' is not", id="in a page"),
        pytest.param(
            page({"start_time": START, "end_time": END + 1, "results": [result(1)]}),
            "column end_time: 1795392001 does not end on the UTC day",
            id="a bucket of more than a day",
        ),
        pytest.param(
            page({"start_time": START + 3600, "end_time": END + 3600, "results": [result(1)]}),
            "does not end on the UTC day",
            id="a day of another time zone",
        ),
        pytest.param("[" * 100_000, "line 1: ", id="nested without end"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_place(text, said):
    """Line and column; nothing is half read."""
    with pytest.raises(ExportError) as error:
        read(text, NAMES)

    assert said in str(error.value)
    assert "\n" not in str(error.value)
