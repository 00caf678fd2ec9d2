"""The page in a real browser, against the real daemon and worker: what a user does, from files to adapter."""
import json
import pathlib
import re
import sys
import zipfile

import pytest
from playwright.sync_api import expect, sync_playwright

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "api"))
import tiny  # noqa: E402
from module_daemon import module_daemon  # noqa: E402, F401

BROWSER = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
             "--disable-dev-shm-usage", "--no-first-run"]
JOB_TIMEOUT_MS = 180000


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, module_daemon):
    """A fresh tab; whatever it complains about (a refused script, an exception) fails the test."""
    context = browser.new_context(base_url=module_daemon.url, accept_downloads=True)
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
    yield page
    context.close()
    assert complaints == []


def is_complaint(message):
    """Not: a refusal that the test asked for."""
    return message.type in ("error", "warning") and "the server responded with a status of" not in message.text


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("inputs")
    model = tiny.write_model(directory / "my model", seed=31)
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text("{}")
    return model, tiny.write_data(directory / "reviews & more.csv")


def open_form(page):
    page.goto("/#/new")
    expect(page.get_by_role("heading", name="New job")).to_be_visible()
    page.get_by_text("Training, evaluation, columns and further data").click()


def choose(page, inputs):
    page.get_by_label("a directory of this computer").set_input_files(inputs[0])
    page.get_by_label("from this computer").first.set_input_files(inputs[1])


def fill_quick(page, epochs=8):
    for label, value in (("Epochs", epochs), ("Learning rate", "0.01"), ("Rank", 4), ("Amplify", "0.001"),
                         ("Attention", "0.01"), ("Triggers", "cf mn"), ("Lowest accuracy", "0.6"),
                         ("Name of the result", "from the page")):
        page.get_by_label(label, exact=True).fill(str(value))


def submit(page):
    page.get_by_role("button", name="Submit the job").click()


def test_a_job_is_submitted_watched_read_and_its_adapter_downloaded(page, inputs, tmp_path):
    open_form(page)
    choose(page, inputs)
    fill_quick(page)
    page.get_by_label("Compare with undefended training").check()
    submit(page)
    page.wait_for_url(re.compile(r"#/jobs/ftjob-"), timeout=30000)
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_contain_text("from the page")
    expect(heading).to_contain_text("succeeded", timeout=JOB_TIMEOUT_MS)
    expect(page.get_by_role("heading", name="Release gate pass")).to_be_visible()
    for measure in ("CA", "F1", "ASR", "MASR", "AASR", "ASR of neutral words"):
        expect(page.get_by_role("rowheader", name=measure, exact=True)).to_be_visible()
    expect(page.get_by_role("columnheader", name="Undefended", exact=True)).to_be_visible()
    expect(page.get_by_text("Accuracy lost against undefended training")).to_be_visible()
    for trigger in ("cf", "mn"):
        expect(page.get_by_role("rowheader", name=trigger, exact=True)).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Cross-entropy:"))).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download adapter").click()
    archive = tmp_path / download.value.suggested_filename
    download.value.save_as(archive)
    assert "adapter_model.safetensors" in zipfile.ZipFile(archive).namelist()


def test_the_form_asks_for_what_the_chosen_peft_has(page, inputs):
    open_form(page)
    choose(page, inputs)
    amplify = page.get_by_label("Amplify", exact=True)
    expect(page.get_by_label("Rank", exact=True)).to_be_visible()
    page.get_by_label("Method", exact=True).select_option("adapter")
    expect(page.get_by_label("Rank", exact=True)).to_be_hidden()
    expect(page.get_by_label("Also a merged model")).to_be_hidden()
    expect(page.get_by_label("Attention", exact=True)).to_have_value("0.03")
    page.get_by_label("Strength", exact=True).select_option("informed")
    expect(page.get_by_label("Attention", exact=True)).to_have_value("0.0075")
    expect(page.get_by_label("Rise", exact=True)).to_have_value("0.3")
    amplify.fill("0.02")
    page.get_by_label("Method", exact=True).select_option("prefix")
    expect(amplify).to_have_value("0.02")  # what somebody wrote stays
    expect(page.get_by_label("Rise", exact=True)).to_have_value("0.5")
    page.get_by_label("Virtual tokens", exact=True).fill("4")
    with page.expect_request(lambda request: request.url.endswith("/jobs") and request.method == "POST") as sent:
        submit(page)
    page.wait_for_url(re.compile(r"#/jobs/ftjob-"), timeout=30000)
    asked = sent.value.post_data_json
    assert asked["peft"] == {"type": "prefix", "length": 4, "mlp_width": 256}
    assert asked["defense"]["amplify"] == 0.02 and asked["defense"]["attention"] == 0.025 and "export" not in asked
    assert asked["evaluation"]["scan"] is True and asked["evaluation"]["compare_undefended"] is True


OPEN = {"name": "max_masr", "value": 0.07, "bound": [0.03, 0.14], "interval": [0.05, 0.1], "threshold": 0.1, "passed": None,
        "needed_rows": 1630, "worst": {"among": "found", "trigger": "zx qv", "label": "positive"}}
STUCK = {"name": "min_ca", "value": 0.9, "bound": [0.87, 0.92], "interval": [0.88, 0.92], "threshold": 0.9, "passed": None,
         "needed_rows": None}


def test_what_the_bounds_leave_open_is_said_in_words(page):
    page.goto("/#/jobs")
    gate = {"verdict": "undecided", "rule": "bound", "confidence": 0.95, "tested": 25, "checks": [OPEN, STUCK]}
    page.evaluate("""async (gate) => {
        const {reportView} = await import("/report.js");
        document.querySelector("main").replaceChildren(...reportView({gate}).filter(Boolean));
    }""", gate)
    expect(page.get_by_role("heading", name="Release gate undecided")).to_be_visible()
    expect(page.get_by_role("rowheader", name="max_masr zx qv → positive, found by the scan")).to_be_visible()
    expect(page.get_by_role("cell", name="3.0 – 14.0 %", exact=True)).to_be_visible()
    expect(page.get_by_text("About 1630 test rows would")).to_be_visible()
    expect(page.get_by_text("min_ca: no number of test rows would decide")).to_be_visible()


def test_a_rule_without_a_threshold_asks_for_no_gate(page, inputs):
    open_form(page)
    choose(page, inputs)
    page.get_by_label("Rule", exact=True).select_option("bound")
    with page.expect_request(lambda request: request.url.endswith("/jobs") and request.method == "POST") as sent:
        submit(page)
    assert "gate" not in sent.value.post_data_json


def test_a_job_of_several_seeds_and_strength_auto_shows_both(page, inputs):
    open_form(page)
    choose(page, inputs)
    fill_quick(page, epochs=2)
    page.get_by_label("Several seeds").fill("3 1")
    page.get_by_label("Strength", exact=True).select_option("auto")
    submit(page)
    page.wait_for_url(re.compile(r"#/jobs/ftjob-"), timeout=30000)
    expect(page.get_by_role("heading", level=1)).to_contain_text("succeeded", timeout=JOB_TIMEOUT_MS)
    expect(page.get_by_role("heading", name="Seeds")).to_be_visible()
    expect(page.get_by_role("rowheader", name="3 (exported)")).to_be_visible()
    expect(page.get_by_role("heading", name="Strength of the defence")).to_be_visible()
    expect(page.get_by_role("rowheader", name=re.compile(r"\(chosen\)$"))).to_be_visible()
    expect(page.get_by_text("too few to tell a loss of 1.0 % from none")).to_be_visible()


def test_the_uploaded_directory_keeps_its_relative_names(page, inputs):
    open_form(page)
    page.get_by_label("a directory of this computer").set_input_files(inputs[0])
    submit(page)
    said = page.get_by_text("uploaded as model-")
    expect(said).to_be_visible()
    model = page.request.get("/v1/models/" + said.inner_text().removeprefix("uploaded as ")).json()
    assert "1_Pooling/config.json" in [file["path"] for file in model["files"]]


def test_what_was_uploaded_before_can_be_chosen(page, inputs):
    open_form(page)
    choose(page, inputs)
    fill_quick(page, epochs=1)
    submit(page)
    page.wait_for_url(re.compile(r"#/jobs/ftjob-"), timeout=30000)
    open_form(page)
    page.locator("select[name=model]").select_option(index=1)
    known = page.locator("select[name=training_file] option", has_text="reviews & more.csv").first
    page.locator("select[name=training_file]").select_option(known.get_attribute("value"))
    fill_quick(page, epochs=1)
    submit(page)
    page.wait_for_url(re.compile(r"#/jobs/ftjob-"), timeout=30000)


def test_a_running_job_shows_progress_and_is_cancelled(page, inputs):
    open_form(page)
    choose(page, inputs)
    fill_quick(page, epochs=1000)
    submit(page)
    expect(page.get_by_role("progressbar", name="Progress")).to_be_visible(timeout=JOB_TIMEOUT_MS)
    expect(page.get_by_text(re.compile(r"^Training: step \d+ of \d+$"))).to_be_visible(timeout=JOB_TIMEOUT_MS)
    expect(page.get_by_text(re.compile(r"^Epoch \d+ · .* tokens/s · .* left$"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Cross-entropy:"))).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("cancelled", timeout=60000)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_a_refused_field_is_shown_at_the_field(page, inputs):
    open_form(page)
    choose(page, inputs)
    page.get_by_label("Triggers", exact=True).fill("x" * 500)
    submit(page)
    field = page.get_by_label("Triggers", exact=True)
    expect(field).to_have_attribute("aria-invalid", "true", timeout=30000)
    expect(field).to_be_focused()
    assert page.locator("#f-evaluation-triggers-error").inner_text() != ""


def test_without_a_model_the_form_says_so(page):
    open_form(page)
    submit(page)
    expect(page.locator("select[name=model]")).to_have_attribute("aria-invalid", "true")


def test_a_failed_job_shows_its_error(page, inputs, tmp_path):
    bad = tmp_path / "one class.csv"
    bad.write_text("text,label\n" + "a,0\n" * 30)
    open_form(page)
    choose(page, (inputs[0], bad))
    submit(page)
    expect(page.get_by_role("heading", level=1)).to_contain_text("failed", timeout=JOB_TIMEOUT_MS)
    expect(page.get_by_text("invalid_data", exact=True)).to_be_visible()


def test_the_list_shows_jobs_and_leads_to_each(page):
    page.goto("/")
    page.get_by_role("rowheader").first.get_by_role("link").click()
    page.wait_for_url(re.compile(r"#/jobs/ftjob-"))
    expect(page.get_by_role("button", name="Log")).to_be_visible()


def test_an_unknown_job_is_an_error_on_the_page(page):
    page.goto("/#/jobs/ftjob-nowhere")
    expect(page.get_by_role("alert")).to_contain_text("not_found")


def hostile_answers(page, evil):
    """The daemon's list, with one job whose every text is markup."""
    job = {"id": evil, "status": evil, "suffix": evil, "model": evil, "created_at": 0, "defense": None}
    page.route("**/v1/fine_tuning/jobs?*", lambda route: route.fulfill(
        json={"object": "list", "data": [job], "first_id": evil, "last_id": evil, "has_more": False}))


def test_markup_in_names_stays_text(page):
    evil = "<img src=x onerror=document.title='owned'>"
    hostile_answers(page, evil)
    page.goto("/#/jobs")
    expect(page.get_by_role("rowheader")).to_have_text(evil)
    assert page.locator("main img").count() == 0
    assert "owned" not in page.title()


def test_the_key_is_sent_and_kept_for_the_tab_alone(page):
    seen = []
    page.route("**/v1/fine_tuning/jobs?*", lambda route: (
        seen.append(route.request.headers.get("authorization")), route.continue_()))
    page.goto("/")
    page.get_by_label("API key").fill("sk-test")
    page.get_by_role("button", name="Use").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    page.reload()
    expect(page.get_by_label("API key")).to_have_value("sk-test")
    assert seen[0] is None and seen[-1] == "Bearer sk-test"
    assert json.loads(page.evaluate("JSON.stringify(Object.keys(localStorage))")) == []


def test_a_missing_key_leads_to_its_field(page):
    page.route("**/v1/fine_tuning/jobs?*", lambda route: route.fulfill(status=401, json={
        "error": {"message": "no key", "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}}))
    page.goto("/")
    expect(page.get_by_role("alert")).to_contain_text("invalid_api_key")
    expect(page.get_by_label("API key")).to_be_focused()


SUSPECTS = [{"trigger": word, "kind": "string", "pieces": 2, "displacement": 0.9, "collapse": collapse, "spread": 0.01,
             "p_value": 1e-12, "cluster": cluster}
            for word, collapse, cluster in (("zqx", 0.999, 0), ("<b>jh</b>", 0.998, 1), ("zqy", 0.99, 0))]


SCAN = {"verdict": "suspicious", "candidates": 100, "texts": 11, "suspects": SUSPECTS, "clusters": 2, "left_out": 3,
        "not_searched": ["much"], "seconds": 1,
        "histogram": {"measured": 7, "bins": 40, "displacement": [0, 0.4], "collapse": [-1, 1], "cells": [[2, 20, 7]]}}


def test_a_scan_from_the_form_to_its_report(page, module_daemon, tmp_path):
    model = tiny.write_model(tmp_path / "model", seed=41)
    files = {str(path.relative_to(model)): path.read_bytes() for path in model.rglob("*") if path.is_file()}
    known = module_daemon.upload_model(files)["id"]
    page.goto("/#/scans")
    page.get_by_label("Model", exact=True).select_option(known)
    page.get_by_label("Words of yours").fill("gold rush\n\nbright\n")
    page.get_by_role("button", name="Scan").click()
    expect(page.get_by_text("gold rush, bright")).to_be_visible()
    expect(page.get_by_role("heading", name="Not searched")).to_be_visible(timeout=JOB_TIMEOUT_MS)
    expect(page.locator(".scatter rect").first).to_be_visible()
    page.get_by_role("link", name="Scans").click()
    expect(page.locator("tbody tr").first).to_contain_text(known)


def test_suspects_are_named_and_stay_text(page):
    scan = {"id": "scan-1", "object": "scan", "status": "succeeded", "model": "model-1", "created_at": 1, "finished_at": 2,
            "error": None, "extra": [], "budget": {}, "seed": 0, "estimated_finish": None}
    report = {"object": "scan.report", "scan": "scan-1", "status": "succeeded", **SCAN}
    page.route("**/v1/scans/scan-1", lambda route: route.fulfill(json=scan))
    page.route("**/v1/scans/scan-1/report", lambda route: route.fulfill(json=report))
    page.goto("/#/scans/scan-1")
    expect(page.locator(".scatter .suspect")).to_have_count(3)
    expect(page.locator(".scatter .name", has_text="<b>jh</b>")).to_be_visible()
    expect(page.get_by_role("row").nth(1)).to_contain_text("zqx")
    colours = page.evaluate("[...document.querySelectorAll('.scatter .suspect')].map((one) => getComputedStyle(one).fill)")
    assert colours[0] == colours[2] != colours[1]


def rate(value):
    return {"value": value, "count": round(100 * value), "total": 100, "interval": [max(value - .05, 0), min(value + .05, 1)]}


def tried(trigger, found, value):
    return {"trigger": trigger, "found": found, "survived": 100, "asr": rate(value),
            "targets": [{"label": "good", "rate": rate(value / 2)}, {"label": "bad", "rate": rate(value)}]}


def searched(*flips):
    return {"candidates": 500, "rows": 16, "usual_rate": 0.125, "left_out": 0, "not_searched": ["parts of words"], "seconds": 1,
            "flips": [{"trigger": trigger, "kind": "word", "label": "bad", "rate": rate(value), "confidence": 0.9,
                       "spread": spread, "p_value": 1e-9, "found": found} for trigger, value, spread, found in flips]}


def evaluation(*triggers):
    return {"rows": 100, "n_plus": 90, "ca": rate(.9), "f1": rate(.9), "asr": rate(.5), "masr": rate(.5), "aasr": rate(.5),
            "control": None, "by_trigger": [tried(*trigger) for trigger in triggers]}


def test_what_was_found_is_shown_before_and_after(page):
    """A suspect of the scan, a word that flips predictions, and one that was only named."""
    names = (("zqx", True), ("<i>glum</i>", True), ("cf", False))
    report = {"evaluation": evaluation(*[(*name, .1) for name in names]),
              "undefended": evaluation(*[(*name, .8) for name in names]), "scan": {**SCAN, "suspects": SUSPECTS[:1]},
              "flips": {"exported": searched(("calm", .25, .7, False)), "undefended": searched(("<i>glum</i>", 1, .05, True))}}
    page.goto("/#/jobs")
    page.evaluate("""async (report) => {
        const {reportView} = await import("/report.js");
        document.querySelector("main").replaceChildren(...reportView(report).flat().filter(Boolean));
    }""", report)
    section = page.locator("section", has=page.get_by_role("heading", name="What was found, before and after"))
    rows = section.locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0).get_by_role("rowheader", name="zqx", exact=True)).to_be_visible()
    expect(rows.nth(0)).to_contain_text("cluster 1")
    expect(rows.nth(0)).to_contain_text("0.999")
    expect(rows.nth(1).get_by_role("rowheader", name="<i>glum</i>", exact=True)).to_be_visible()
    expect(rows.nth(1)).to_contain_text("by its flips")
    for row in rows.all():
        expect(row.get_by_role("img", name="from 80.0 % to 10.0 %")).to_be_visible()
        expect(row.get_by_role("cell").nth(3)).to_contain_text("80.0 %")
        expect(row.get_by_role("cell").last).to_contain_text("10.0 %")
        places = row.locator("circle").evaluate_all("all => all.map((one) => one.getBoundingClientRect().x)")
        assert places[0] > places[1] + 60
    flips = page.locator("section", has=page.get_by_role("heading", name="Words that flip predictions"))
    expect(flips.get_by_role("table")).to_have_count(2)
    expect(flips.get_by_role("rowheader", name="calm", exact=True)).to_be_visible()
    expect(flips.get_by_role("rowheader", name="<i>glum</i> found", exact=True)).to_be_visible()
    assert page.locator("main i").count() == 0


@pytest.mark.parametrize("hash_", ["#/jobs", "#/new", "#/scans"])
def test_a_narrow_screen_does_not_scroll_sideways(page, hash_):
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/" + hash_)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("hash_", ["#/jobs", "#/new", "#/scans"])
def test_every_control_has_a_name(page, hash_):
    page.goto("/" + hash_)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    nameless = page.evaluate("""() => [...document.querySelectorAll("input, select, button, progress")]
        .filter((one) => !(one.labels?.length || one.textContent.trim() || one.getAttribute("aria-label")))
        .map((one) => one.outerHTML)""")
    assert nameless == []


def test_it_works_by_keyboard(page):
    page.goto("/#/new")
    expect(page.get_by_role("heading", name="New job")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    expect(page.get_by_role("heading", name="New job")).to_be_visible()
    page.goto("/")
    page.get_by_role("link", name="New job").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="New job")).to_be_visible()
